"""A cache for all commands of these tests, and a broker for each that asks."""

import pytest
from support.kernels import shared_cache
from support.services import mosquitto


@pytest.fixture(autouse=True, scope="session")
def cache_apart(tmp_path_factory):
    """Processes started by these tests find their kernels here."""
    with shared_cache(tmp_path_factory):
        yield


@pytest.fixture
def broker(tmp_path):
    """An MQTT broker of the test's own."""
    with mosquitto(tmp_path, "listener PORT 127.0.0.1", "allow_anonymous true") as found:
        yield found
