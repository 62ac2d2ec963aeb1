"""What the tests of the language share: a pipeline with everything, and those that people wrote."""

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SHARED = HERE.parent.parent.parent / "shared" / "flows"


@pytest.fixture(scope="session")
def everything():
    """A pipeline with every statement, clause and stage."""
    return (HERE / "everything.flow").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def written():
    """Pipelines by others, by name; skipped where they are not at hand."""
    found = {p.name: p.read_bytes().decode("utf-8") for p in sorted(SHARED.glob("*/*.flow"))}
    if not found and os.environ.get("FLOWEDGE_REQUIRE_ALL") != "1":
        pytest.skip("the shared pipelines are not at hand")
    assert found
    return found
