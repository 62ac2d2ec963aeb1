"""Models of a pipeline, loaded and verified before the first row."""

from typing import Any

from flowedge.compile import program as p
from flowedge.lang.errors import ModelError


def load_models(program: p.Program, trusted: frozenset[str]) -> dict[str, Any]:
    """Every model that a node of the program calls, by name; imports Torch only if there is one.

    Raises
    ------
    ModelError
        a file is missing, its digest differs, it may not be trusted, or the extra is not installed
    """
    used = {n.model for n in program.nodes if isinstance(n, p.ModelSpec)}
    out: dict[str, Any] = {}
    for name, kind, path, sha256 in program.models:
        if name not in used:
            continue
        if kind != "torch":
            raise ModelError(f"model `{name}`: this version cannot run `{kind}` models yet")
        from flowedge.models.load import load  # noqa: PLC0415  # brings Torch

        out[name] = load(path, sha256 or None, trusted)
    return out
