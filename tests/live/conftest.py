"""A cache for all commands of these tests, and a broker for each that asks."""

import os

import pytest
from support.services import mosquitto


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


@pytest.fixture
def broker(tmp_path):
    """An MQTT broker of the test's own."""
    with mosquitto(tmp_path, "listener PORT 127.0.0.1", "allow_anonymous true") as found:
        yield found
