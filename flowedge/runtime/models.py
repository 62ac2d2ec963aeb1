"""Models of a pipeline, loaded and verified before the first row."""

from collections.abc import Mapping
from typing import Any

from flowedge.compile import program as p
from flowedge.runtime.clock import SYSTEM, Clock
from flowedge.runtime.timed import Timed


def load_models(program: p.Program, trusted: frozenset[str]) -> dict[str, Any]:
    """Every model that a node of the program calls, by name; a file that several name is loaded once.

    Torch, ONNX Runtime and LiteRT are imported only where a model needs them.

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
    from flowedge.models.load import load  # noqa: PLC0415  # brings what runs it

    return load(file.path, file.sha256 or None, trusted, file.kind, device=file.device, isolated=file.isolated)  # fmt: skip


def _nameless(file: p.ModelFileSpec) -> p.ModelFileSpec:
    return p.ModelFileSpec(kind=file.kind, path=file.path, sha256=file.sha256, device=file.device, isolated=file.isolated, name="")  # fmt: skip


def close_models(models: Mapping[Any, Any]) -> None:
    """End the processes of models that have one."""
    for model in set(models.values()):
        close = getattr(model, "close", None)
        if close is not None:
            close()


class Models:
    """The models of a run, which end with it.

    Parameters
    ----------
    deadlines : those of nodes act: in live and paced runs

    Attributes
    ----------
    by_name : what a session asks
    """

    def __init__(
        self, program: p.Program, trusted: frozenset[str], clock: Clock = SYSTEM, *, deadlines: bool
    ) -> None:
        self._clock, self._deadlines = clock, deadlines
        self._timed: dict[int, Timed] = {}
        self._loaded: dict[Any, Any] = dict(load_models(program, trusted))
        self.by_name = {name: self._of(model) for name, model in self._loaded.items()}

    def add(self, name: str, model: Any) -> Any:  # noqa: ANN401
        """Another model in the place of one; what a session asks."""
        self._loaded[name, id(model)] = model
        self.by_name[name] = self._of(model)
        return self.by_name[name]

    def _of(self, model: Any) -> Any:  # noqa: ANN401
        if not self._deadlines:
            return model
        return self._timed.setdefault(id(model), Timed(model, self._clock))

    def came(self, now_ns: int) -> None:
        """Rows have come, at a time of the clock [ns]: from here on deadlines run."""
        for timed in self._timed.values():
            timed.came_ns = now_ns

    def close(self) -> None:
        """End the processes of models that have one."""
        close_models(self._loaded)
