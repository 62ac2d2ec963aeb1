"""One cache for all commands of a test session, apart from that of the user."""

import os

import pytest


@pytest.fixture(autouse=True, scope="session")
def cache_apart(tmp_path_factory):
    """Processes started by these tests find their kernels here."""
    before = os.environ.get("FLOWEDGE_CACHE")
    os.environ["FLOWEDGE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["FLOWEDGE_CACHE"]
    else:
        os.environ["FLOWEDGE_CACHE"] = before
