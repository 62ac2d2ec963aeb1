"""Where processes that tests start find their kernels."""

import contextlib
import os


@contextlib.contextmanager
def shared_cache(tmp_path_factory):
    """One cache for all commands of a test session and all its workers, apart from that of the user."""
    base = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        base = base.parent  # the workers have folders of their own in it
    folder = base / "kernels"
    folder.mkdir(exist_ok=True)
    before = os.environ.get("FLOWEDGE_CACHE")
    os.environ["FLOWEDGE_CACHE"] = str(folder)
    yield
    if before is None:
        del os.environ["FLOWEDGE_CACHE"]
    else:
        os.environ["FLOWEDGE_CACHE"] = before
