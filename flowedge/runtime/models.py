"""Models of a pipeline, loaded and verified before the first row."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flowedge.compile import program as p
from flowedge.lang.errors import ModelError
from flowedge.runtime.clock import SYSTEM, Clock
from flowedge.runtime.timed import Timed


def load_models(program: p.Program, trusted: frozenset[str]) -> dict[str, Any]:
    """Every model that a node of the program calls, by name; a file that several name is loaded once.

    Torch and ONNX Runtime are imported only where a model needs them.

    Raises
    ------
    ModelError
        a file is missing, its digest differs, it may not be trusted, or the extra is not installed
    """
    out: dict[str, Any] = {}
    known: dict[p.ModelFileSpec, Any] = {}
    try:
        for file in files_of(program):
            same = _nameless(file)
            if same not in known:
                known[same] = load_model(file, trusted)
            out[file.name] = known[same]
    except BaseException:
        close_models(known)
        raise
    return out


def files_of(program: p.Program) -> list[p.ModelFileSpec]:
    """The files of the models that nodes call."""
    used = {c.model for n in program.nodes if isinstance(n, p.ModelSpec) for c in n.calls}
    return [m for m in program.models if m.name in used]


def load_model(file: p.ModelFileSpec, trusted: frozenset[str]) -> Any:  # noqa: ANN401
    """One model, ready to be called; raises ModelError."""
    if file.kind not in ("torch", "onnx"):
        raise ModelError(f"model `{file.name}`: this version cannot run `{file.kind}` models yet")
    from flowedge.models.load import load  # noqa: PLC0415  # brings Torch or ONNX Runtime

    return load(file.path, file.sha256 or None, trusted, file.kind, device=file.device, isolated=file.isolated)  # fmt: skip


def _nameless(file: p.ModelFileSpec) -> p.ModelFileSpec:
    return p.ModelFileSpec(kind=file.kind, path=file.path, sha256=file.sha256, device=file.device, isolated=file.isolated, name="")  # fmt: skip


def close_models(models: Mapping[Any, Any]) -> None:
    """End the processes of models that have one."""
    for model in set(models.values()):
        close = getattr(model, "close", None)
        if close is not None:
            close()


@contextmanager
def models_of(
    program: p.Program, trusted: frozenset[str], clock: Clock = SYSTEM, *, deadlines: bool
) -> Iterator[tuple[dict[str, Any], Callable[[int], None]]]:
    """The models of a run, which end with it, and what is told when rows come [ns of the clock].

    Parameters
    ----------
    deadlines : those of nodes act: in live and paced runs
    """
    loaded = load_models(program, trusted)
    timed: list[Timed] = []
    models = dict(loaded)
    if deadlines:
        by_id = {id(model): Timed(model, clock) for model in loaded.values()}
        timed = list(by_id.values())
        models = {name: by_id[id(model)] for name, model in loaded.items()}

    def came(now_ns: int) -> None:
        for model in timed:
            model.came_ns = now_ns

    try:
        yield models, came
    finally:
        close_models(loaded)
