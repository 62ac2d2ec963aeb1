"""What all tests share: how hypothesis searches."""

from hypothesis import settings

# The first call of a kernel compiles it, so that no time limit for one example makes sense.
settings.register_profile("flowedge", derandomize=True, deadline=None)
settings.load_profile("flowedge")
