"""What all tests share: how hypothesis searches, which files begin, and that Ctrl-C reaches the runs that they start."""

import os
import signal

import pytest
from hypothesis import settings

# What a shell starts in the background ignores SIGINT, and so would every run that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The first call of a kernel compiles it, so that no time limit for one example makes sense.
settings.register_profile("flowedge", derandomize=True, deadline=None)
settings.load_profile("flowedge")

LONGEST = ("test_soak.py", "test_recovery.py", "test_simulation.py")
"""Files that take longest, and so begin: the soak waits for its ten minutes while the others work."""


SLOW = {
    "test_activity.py": ("made_up", "left_out", "another_order"),
    "test_room.py": ("made_up_day", "same_bytes", "unknown_week"),
    "test_nab.py": ("the_pipeline_finds", "what_comes_after", "younger_than"),
    "test_heartbeats.py": ("of_a_recording",),
    "test_training.py": ("does_what_it_says",),
    "test_pipelines.py": ("[heartbeats]", "[anomalies]"),
    "test_architectures.py": (
        "[gru bidirectional", "[lstm bidirectional", "[lstm cells", "[own attention", "[rnn", "[causal", "[lookup",
        "[activations", "[heads", "[spectrum", "[cnn2d",
    ),
    "test_trust.py": ("machine_code",),
    "test_simulation.py": ("does not sync rows", "the_same_world_again"),
    "test_recovery.py": ("leaves_nothing_to_be_seen[parquet]",),
    "test_signals.py": ("any_moment_lose_nothing[3-twice]",),
    "test_cli.py": ("runs_as_it_stands[heartbeats]",),
    "test_frames.py": ("-parquet]",),
    "test_swap.py": ("where_no_run_is",),
}  # fmt: skip
"""Tests that train, compile for long, or show in another way what others show: by file, parts of their names. They run with FLOWEDGE_SLOW=1, as in `make torture`."""


def pytest_collection_modifyitems(items):
    """Put the longest files in front, and leave the slow tests to those who ask for them."""
    leave = pytest.mark.skip(reason="one of the slow ones: FLOWEDGE_SLOW=1, as `make torture` does")
    if not os.environ.get("FLOWEDGE_SLOW"):
        for item in items:
            if any(part in item.name for part in SLOW.get(item.path.name, ())):
                item.add_marker(leave)
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))
