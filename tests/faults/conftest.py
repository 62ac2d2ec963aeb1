"""One cache for all commands of a test session, apart from that of the user."""

import pytest
from support.kernels import shared_cache


@pytest.fixture(autouse=True, scope="session")
def cache_apart(tmp_path_factory):
    """Processes started by these tests find their kernels here."""
    with shared_cache(tmp_path_factory):
        yield
