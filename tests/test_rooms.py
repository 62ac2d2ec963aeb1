"""Imports go downhill: a room knows only the rooms below it, and a warm start knows few."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "flowedge"
CONTRACT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
LAYERS = next(c for c in CONTRACT["contracts"] if c["type"] == "layers")["layers"]
FLOOR = {
    room.strip(): len(LAYERS) - k for k, layer in enumerate(LAYERS) for room in layer.split(":")
}
"""How high each room lies; siblings on one floor do not know each other."""
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(parts):
    return parts[0].removesuffix(".py") if parts else ""


def imported(path):
    """Rooms that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [f"{node.module}.{a.name}" for a in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "flowedge" and len(parts) > 1 and parts[1] in FLOOR:
                yield parts[1]


def test_every_room_has_a_floor():
    rooms = {room_of(p.relative_to(PACKAGE).parts) for p in FILES} - {"__init__"}
    assert rooms <= set(FLOOR)


@pytest.mark.parametrize("room", sorted(FLOOR))
def test_a_room_imports_only_from_below(room):
    for path in FILES:
        if room_of(path.relative_to(PACKAGE).parts) != room:
            continue
        for other in imported(path):
            assert other == room or FLOOR[other] < FLOOR[room], f"{path} imports {other}"


def test_an_import_uphill_is_caught(tmp_path):
    path = tmp_path / "outlaw.py"
    path.write_text("def f():\n    from flowedge.runtime import run\n", "utf-8")
    assert [FLOOR[x] > FLOOR["lang"] for x in imported(path)] == [True]


@pytest.mark.parametrize("name", ["flowedge", "flowedge.cli", "flowedge.session.session"])
def test_the_warm_path_is_light(name):
    heavy = "numba", "scipy", "pint", "lark", "torch", "pandas", "wfdb"
    code = f"import sys, {name}; print([x for x in {heavy!r} if x in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
