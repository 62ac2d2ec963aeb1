"""What all tests share: how hypothesis searches, which files begin, and that signals reach the runs that they start."""

import os
import signal

import pytest
from hypothesis import settings

# What a shell starts in the background ignores SIGINT, and what `nohup` starts SIGHUP; so would every run of a test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The first call of a kernel compiles it, so that no time limit for one example makes sense.
settings.register_profile("flowedge", derandomize=True, deadline=None)
settings.load_profile("flowedge")

FIRST = ("test_soak.py", "test_apart.py", "test_recovery.py", "test_simulation.py")
"""Files that begin: those that take longest (the soak waits for its ten minutes while the others work), and one that wants a process
in which no other test has left threads."""


def pytest_collection_modifyitems(items):
    """Put some files in front, and leave the slow tests to those who ask for them."""
    leave = pytest.mark.skip(reason="slow: FLOWEDGE_SLOW=1 runs it, as `make torture` does")
    if not os.environ.get("FLOWEDGE_SLOW"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(leave)
    place = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(FIRST)))


@pytest.fixture(scope="session")
def cluster():
    """A PostgreSQL of the tests' own; tests that harm it start it again."""
    from support import postgres  # noqa: PLC0415  # most tests need neither it nor its library

    postgres.needed()
    server = postgres.Cluster()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "duckdb", "postgres"])
def database(request, tmp_path):
    """Each database that sinks fill, empty."""
    from support import databases  # noqa: PLC0415

    if request.param == "postgres":
        return databases.Postgres(request.getfixturevalue("cluster"))
    return {"sqlite": databases.Sqlite, "duckdb": databases.Duckdb}[request.param](tmp_path)
