"""Models of a pipeline, loaded and verified before the first row."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowedge.compile import program as p
from flowedge.lang.errors import DigestError
from flowedge.models.trust import NONE, Trust
from flowedge.runtime.clock import SYSTEM, Clock
from flowedge.runtime.timed import Timed

if TYPE_CHECKING:
    from flowedge.runtime.keys import PublicKey


@dataclass(frozen=True)
class Allowed:
    """What models may do, as the user said.

    Attributes
    ----------
    trust : programs by digest, classes by name
    keys : whose signature makes a program trusted
    required : the key that must have signed every model; None: none must
    """

    trust: Trust = NONE
    keys: "tuple[PublicKey, ...]" = ()
    required: "PublicKey | None" = None

    def of(self, path: str, digest: str, signed_by: str) -> Trust:
        """What is trusted of a file that was read; raises DigestError where a signature is asked for and is not there."""
        for wanted in (self.required, _key(signed_by)):
            if wanted is not None:
                _check(path, wanted, digest)
        for key in (*self.keys, *((self.required,) if self.required is not None else ())):
            try:
                _check(path, key, digest)
            except DigestError:
                continue
            return self.trust.also(digest)
        return self.trust


def allowed(
    trust: Sequence[str] = (), classes: Sequence[str] = (), required: "PublicKey | None" = None
) -> Allowed:
    """As on the command line: digests and public keys of programs, classes, and the key that must have signed all."""
    digests = [x for x in trust if _is_digest(x)]
    keys = tuple(key for x in trust if not _is_digest(x) and (key := _key(x)) is not None)
    return Allowed(Trust(frozenset(digests), frozenset(classes)), keys, required)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdefABCDEF" for c in text)


def _key(text: str) -> "PublicKey | None":
    if not text:
        return None
    from flowedge.runtime.keys import PublicKey  # noqa: PLC0415  # only where one is named

    return PublicKey.of(text)


def _check(path: str, key: "PublicKey", digest: str) -> None:
    from flowedge.runtime.keys import check_signed  # noqa: PLC0415

    check_signed(Path(path), key, digest)


def load_models(program: p.Program, trusted: Allowed = Allowed()) -> dict[str, Any]:  # it is frozen
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
        close_models(known.values())
        raise
    return out


def files_of(program: p.Program) -> list[p.ModelFileSpec]:
    """The files of the models that nodes call."""
    used = {c.model for n in program.nodes if isinstance(n, p.ModelSpec) for c in n.calls}
    return [m for m in program.models if m.name in used]


def load_model(file: p.ModelFileSpec, trusted: Allowed) -> Any:  # noqa: ANN401
    """One model, ready to be called, of the bytes whose signature was checked; raises ModelError."""
    from flowedge.models.load import read, start  # noqa: PLC0415  # brings what runs it

    data, digest = read(file.path, file.sha256 or None)
    trust = trusted.of(file.path, digest, file.signed_by)
    return start(data, digest, file.path, trust, file.kind, device=file.device, isolated=file.isolated, arch=file.arch, exact=file.exact)  # fmt: skip


def _nameless(file: p.ModelFileSpec) -> p.ModelFileSpec:
    return replace(file, name="")


def close_models(models: Iterable[Any]) -> None:
    """End the processes of models that have one."""
    for model in set(models):
        close = getattr(model, "close", None)
        if close is not None:
            close()


class Models:
    """The models of a run, which end with it.

    Parameters
    ----------
    deadlines : those of nodes act: in live and paced runs, and where one is done again as it was recorded
    again : by name, the numbers of the calls that were late then; None: the clock says which are
    on_late : hears the name and the number of each call that is

    Attributes
    ----------
    by_name : what a session asks
    """

    def __init__(
        self,
        program: p.Program,
        trusted: Allowed,
        clock: Clock = SYSTEM,
        *,
        deadlines: bool,
        again: Mapping[str, Set[int]] | None = None,
        on_late: Callable[[str, int], None] | None = None,
    ) -> None:
        self._clock, self._deadlines = clock, deadlines
        self._again, self._on_late = again, on_late
        self._timed: dict[int, Timed] = {}
        self._names: dict[str, Timed] = {}
        self._calls: dict[str, int] = {}
        self._loaded: dict[Any, Any] = dict(load_models(program, trusted))
        self.by_name = {name: self.asked(model, name) for name, model in self._loaded.items()}

    def add(self, name: str, model: Any) -> None:  # noqa: ANN401
        """Another model in the place of one."""
        self._loaded[name, id(model)] = model
        self.by_name[name] = self.asked(model, name)

    def asked(self, model: Any, name: str) -> Any:  # noqa: ANN401
        """What a session asks: the model, or one that keeps time."""
        if not self._deadlines:
            return model
        found = self._timed.get(id(model))
        if found is None:
            late = None if self._again is None else self._again.get(name, frozenset())
            found = self._timed[id(model)] = Timed(
                model, self._clock,
                None if late is None else late.__contains__,
                None if self._on_late is None else partial(self._on_late, name),
            )  # fmt: skip
            before = self._names.get(name)
            found.calls = self._calls.get(name, 0) if before is None else before.calls
            self._names[name] = found
        return found

    def calls(self) -> dict[str, int]:
        """By name, calls with a deadline so far, for a checkpoint."""
        return {name: timed.calls for name, timed in self._names.items()}

    def go_on(self, calls: Mapping[str, int]) -> None:
        """Count on from a checkpoint."""
        self._calls = dict(calls)
        for name, timed in self._names.items():
            timed.calls = self._calls.get(name, 0)

    def came(self, now_ns: int) -> None:
        """Rows have come, at a time of the clock [ns]: from here on deadlines run."""
        for timed in self._timed.values():
            timed.came_ns = now_ns

    def close(self) -> None:
        """End the processes of models that have one."""
        close_models(self._loaded.values())
