"""Models of a pipeline, loaded and verified before the first row."""

from typing import Any

from flowedge.compile import program as p
from flowedge.lang.errors import ModelError


def load_models(program: p.Program, trusted: frozenset[str]) -> dict[str, Any]:
    """Every model that a node of the program calls, by name; a file that several name is loaded once.

    Torch and ONNX Runtime are imported only where a model needs them.

    Raises
    ------
    ModelError
        a file is missing, its digest differs, it may not be trusted, or the extra is not installed
    """
    used = {c.model for n in program.nodes if isinstance(n, p.ModelSpec) for c in n.calls}
    out: dict[str, Any] = {}
    known: dict[tuple[str, ...], Any] = {}
    for name, kind, path, sha256 in program.models:
        if name not in used:
            continue
        if kind not in ("torch", "onnx"):
            raise ModelError(f"model `{name}`: this version cannot run `{kind}` models yet")
        from flowedge.models.load import load  # noqa: PLC0415  # brings Torch or ONNX Runtime

        file = (kind, path, sha256)
        if file not in known:
            known[file] = load(path, sha256 or None, trusted, kind)
        out[name] = known[file]
    return out
