"""The pipelines that come along: each is right, or lacks what it says how to get."""

import re
from pathlib import Path

import pytest

from flowedge.lang.diagnostics import FlowError
from flowedge.runtime.plan import compile_flow

ROOT = Path(__file__).parents[2]
LACKING = {"FE608", "FE707"}
"""A model that must be trained, and a recording that must be fetched, first."""


LONG = {"heartbeats", "anomalies"}
"""Pipelines that compile for long; their own tests run them too."""
PIPELINES = [
    pytest.param(path, marks=pytest.mark.slow if path.stem in LONG else (), id=path.stem)
    for path in sorted((ROOT / "pipelines").glob("*.flow"))
]


@pytest.mark.parametrize("path", PIPELINES)
def test_a_pipeline_is_right_or_says_how_to_get_what_it_lacks(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines").symlink_to(ROOT / "pipelines")
    try:
        compile_flow(f"pipelines/{path.name}")
    except FlowError as error:
        found = {d.code for d in error.diagnostics if d.severity == "error"}
        assert found <= LACKING
        said = path.read_text("utf-8")
        if "FE608" in found:
            script = re.search(r"^#.*python (pipelines/train_\w+\.py) --data", said, re.MULTILINE)
            assert script is not None
            assert (ROOT / script[1]).exists()
            page = re.search(r"docs/examples/\w+\.md", said)
            assert page is not None
            assert (ROOT / page[0]).exists()
            assert script[1] in (ROOT / page[0]).read_text("utf-8")
        else:  # data, which a page or the project's own command gets
            page = re.search(r"docs/examples/\w+\.md", said)
            assert "make run" in said or (page is not None and (ROOT / page[0]).exists())
