"""Real pipelines of the specification: each gives a graph, or only names what is still to come.

The exceptions are mistakes that the specification's own rules forbid, and corners of the grammar
that speak of things which are not there.
"""

import os
from pathlib import Path

import pytest
from world import problems

HERE = Path(__file__).parents[2].parent / "shared" / "flows"
LATER = {"FE290", "FE291"}
ALSO = {
    "03-fleet": {"FE413", "FE410", "FE216"}, "08-keywords-as-columns": {"FE201"}, "09-ref-to-branch": {"FE414"}, "12-mqtt-captures": {"FE416"},
    "16-scientific-ranges": {"FE304"}, "20-split-forms": {"FE202"}, "22-union-import": {"FE215"}, "33-word-boundaries": {"FE207", "FE214"},
    "45-check-windows": {"FE707"}, "47-check-resample-join": {"FE707"}, "08-bearing": {"FE504"}, "10-home": {"FE504"}, "11-energy": {"FE413"},
    "12-fleet": {"FE413"}, "13-fall": {"FE215"}, "16-edgex": {"FE413"},
}  # fmt: skip
"""A live join without `idle after`, keys mixed behind `late per key`, files that are not here."""
FLOWS = sorted(HERE.glob("*/*.flow"))


@pytest.mark.skipif(
    not FLOWS and not os.environ.get("FLOWEDGE_REQUIRE_ALL"),
    reason="the pipelines of the specification are not here",
)
def test_the_pipelines_are_there():
    assert FLOWS


@pytest.mark.parametrize("path", FLOWS, ids=lambda p: p.stem)
def test_a_pipeline_of_the_specification_checks(path):
    found = {d.code for d in problems(path.read_text(encoding="utf-8")) if d.severity == "error"}
    assert found - LATER == ALSO.get(path.stem, set())
