"""What the documents show runs, and says what it is said to say."""

import importlib.util
import re
import runpy
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args

import msgpack
import pytest
from typer.main import get_command

from flowedge.cli import app
from flowedge.lang import statements, tree
from flowedge.lang.diagnostics import FlowError
from flowedge.lang.format import format as tidy
from flowedge.lang.parse import parse
from flowedge.operators.manual import GROUPS, table
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```flow(?: ([\w.-]+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)
SCRIPT = re.compile(r"^```python (\w+\.py)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LATER = {"Spectrum", "ClassifyScorer", "Test"}
"""What `docs/language.md` lists as not running yet."""


def blocks_of(path):
    return [(m.group(1) or "", m.group(2)) for m in BLOCK.finditer(path.read_text("utf-8"))]


def blocks():
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        files = {kind: text for kind, text in blocks_of(path) if kind.endswith(".flow")}
        files |= dict(SCRIPT.findall(path.read_text("utf-8")))
        for k, (kind, text) in enumerate(blocks_of(path)):
            if kind not in files:
                yield pytest.param(text, kind, files, id=f"{path.name}-{k}")


@pytest.mark.parametrize(("text", "kind", "files"), list(blocks()))
def test_an_example_runs(text, kind, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines").symlink_to(ROOT / "pipelines")
    if "out/bad.msgpack" in text:  # what a run before has left
        (tmp_path / "out").mkdir()
        kept = {"file": "a.csv", "row": 3, "reason": "`v` is not a number", "text": "x"}
        (tmp_path / "out" / "bad.msgpack").write_bytes(msgpack.packb(kept))
    for name, content in files.items():
        (tmp_path / name).write_text(content, "utf-8")
    assert tidy(tidy(text)) == tidy(text)
    if kind == "not-yet":
        with pytest.raises(FlowError) as raised:
            compile_flow(text=text)
        assert {d.code for d in raised.value.diagnostics if d.severity == "error"} <= {
            "FE290",
            "FE291",
        }
        return
    if kind == "video":
        pytest.importorskip("av")
        from support.clips import write  # noqa: PLC0415

        write("clip.mp4")
    if kind == "live":  # tests/live/test_pages.py runs it
        compile_flow(text=text)
        return
    if kind == "wrong":
        with pytest.raises(FlowError):
            compile_flow(text=text)
        return
    if kind == "torch" and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    for name in files:
        if name.endswith(".py"):  # it makes the network that the page asks
            subprocess.run([sys.executable, name], check=True, capture_output=True)
    report = Run(compile_flow(text=text))()
    assert report.rows_in > 0


def test_the_readme_shows_mistakes_as_they_are_told(tmp_path):
    text = (ROOT / "README.md").read_text("utf-8")
    pipeline = next(t for kind, t in blocks_of(ROOT / "README.md") if kind == "wrong")
    (tmp_path / "pump.flow").write_text(pipeline, "utf-8")
    found = subprocess.run(
        [sys.executable, "-m", "flowedge", "check", "pump.flow"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    shown = re.search(r"^\$ flowedge check pump.flow\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert shown.group(1).strip() == (found.stdout + found.stderr).strip()


def test_the_python_in_the_readme_runs():
    text = (ROOT / "README.md").read_text("utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        subprocess.run([sys.executable, "-c", block], cwd=ROOT, check=True, capture_output=True)


def test_the_pictures_are_those_that_the_project_draws(tmp_path):
    (tmp_path / "pipelines").symlink_to(ROOT / "pipelines")
    for command in (
        ["-m", "flowedge", "graph", "pipelines/ecg.flow", "-o", "ecg.svg"],
        ["-m", "flowedge", "run", "-q", "pipelines/ecg.flow"],
        ["pipelines/draw_beats.py", "beats.svg"],
    ):
        subprocess.run([sys.executable, *command], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "ecg.svg").read_text("utf-8") == (ROOT / "docs/ecg.svg").read_text("utf-8")
    made = (tmp_path / "beats.svg").read_text("utf-8")
    assert made.count("<path") == (ROOT / "docs/beats.svg").read_text("utf-8").count("<path")


def test_the_readme_has_the_figures_of_the_last_benchmark():
    summary = runpy.run_path(str(ROOT / "benchmarks" / "common.py"))["summary"]
    text = (ROOT / "README.md").read_text("utf-8")
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text("utf-8")
    assert "\n".join(summary(results)) in text


def walk(node):
    """All trees below a tree."""
    if isinstance(node, tuple):
        for item in node:
            yield from walk(item)
    elif is_dataclass(node) and not isinstance(node, type):
        yield node
        for f in fields(node):
            yield from walk(getattr(node, f.name))


def test_the_language_page_shows_every_statement_and_stage():
    shown = {
        type(node).__name__
        for kind, text in blocks_of(ROOT / "docs" / "language.md")
        if kind != "not-yet"
        for node in walk(parse(text))
    }
    known = {c.__name__ for c in (*get_args(statements.Statement), *get_args(tree.Stage))}
    assert known - shown == LATER


def test_the_table_of_operators_names_all_of_them():
    text = (ROOT / "README.md").read_text("utf-8")
    for kind, title, _ in GROUPS:
        found = re.search(rf"^\| {title} \| (.*) \|$", text, re.MULTILINE)
        assert found, title
        names = [name for k, name, _ in table() if k == kind]
        assert re.findall(r"`([\w ]+)`", found.group(1)) == names


def test_the_readme_names_only_commands_that_are_there():
    known = set(get_command(app).commands)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`flowedge (\w+)", text)) <= known
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in re.findall(r"`make (\w+)`", text):
        assert f"\n{word}:" in makefile


def test_files_that_documents_name_are_there():
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"):
        text = path.read_text("utf-8")
        for name in re.findall(r"`((?:docs|benchmarks|pipelines|tests|grammar)/[\w./-]*)`", text):
            assert (ROOT / name).exists(), f"{path.name} names {name}"
        if path.name == "architecture.md":
            for name in re.findall(r"`([a-z]+/[\w/]*(?:\.py)?)`", text):
                assert (ROOT / "flowedge" / name).exists() or (ROOT / name).exists(), name
