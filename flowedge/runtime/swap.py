"""Another model in the place of one that runs, at a checkpoint: windows, keys and memory stay as they are.

``flowedge model swap DIR NAME FILE`` leaves a request in the directory of the run's state. The run finds it between two
batches, loads the file, asks it about frames of zeros, makes a checkpoint, goes on with it, and makes another one that
says so; a run that is killed on the way does the same again from the same row. A model that does not keep the contract
of the one before is refused, and the run goes on as it was.
"""

import contextlib
import fcntl
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowedge.compile import program as p
from flowedge.lang.errors import CheckpointError, ModelError, RunError
from flowedge.runtime.clock import SYSTEM, Clock
from flowedge.runtime.models import Allowed, Models, close_models, files_of, load_model
from flowedge.runtime.signals import Asked
from flowedge.sinks.atomic import replace as write

if TYPE_CHECKING:
    from flowedge.models.manifest import Manifest
    from flowedge.session.session import Session

ASKED, ANSWERED = "swap.json", "swapped.json"
_EVERY_S = 0.2
_LARGEST = 1 << 16


@dataclass(frozen=True)
class Request:
    """Use the file at `path` for the model `name`; its bytes must have this sha256."""

    name: str
    path: str
    sha256: str

    def as_dict(self) -> dict[str, str]:
        """Plain data."""
        return {"name": self.name, "path": self.path, "sha256": self.sha256}


def ask(root: Path, request: Request) -> None:
    """Leave a request where the run finds it; raises RunError where it cannot be written."""
    with contextlib.suppress(FileNotFoundError):
        (root / ANSWERED).unlink()
    write(root / ASKED, json.dumps(request.as_dict()).encode())


def answer(root: Path) -> dict[str, str] | None:
    """What the run said to the last request; None: nothing yet."""
    try:
        return dict(json.loads((root / ANSWERED).read_bytes()[:_LARGEST]))
    except (OSError, ValueError):
        return None


def swap_model(root: Path, name: str, file: Path, wait_s: float) -> str:
    """Ask the run that holds a state to go on with another file, and wait for what it says.

    Raises
    ------
    RunError
        there is no such state, or the run did not answer in time
    ModelError
        the file cannot be read, or the run refuses it
    """
    from flowedge.models.load import read  # noqa: PLC0415

    if not (root / "lock").exists():
        raise CheckpointError(
            f"there is no state of a run in `{root}`; give its --checkpoint directory"
        )
    path = file.resolve()
    _, sha256 = read(path)
    ask(root, Request(name, str(path), sha256))
    if not _is_held(root):
        return f"no run holds the state in `{root}`; the next one swaps `{name}` at its first batch"
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        told = answer(root)
        if told is not None:
            if told.get("problem"):
                raise ModelError(f"the run refuses it and goes on as it was: {told['problem']}")
            return f"`{name}` is `{path}` from here on (sha256 {sha256})"
        time.sleep(0.05)
    raise RunError(
        f"the run in `{root}` has not answered for {wait_s:g} s; it swaps `{name}` at its next batch"
    )


def _is_held(root: Path) -> bool:
    """Whether a run holds the directory."""
    with (root / "lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.flock(lock, fcntl.LOCK_UN)
    return False


@dataclass
class Swaps:
    """The requests that a run looks for, and what it has swapped so far.

    Attributes
    ----------
    done : by name of the model, the file that runs in its place
    """

    program: p.Program
    root: Path
    trusted: Allowed = field(default_factory=Allowed)
    clock: Clock = SYSTEM
    done: dict[str, Request] = field(default_factory=dict)
    _looked_s: float = 0.0

    def due(self) -> Request | None:
        """The request that waits; it is looked for a few times a second."""
        now = self.clock.s()
        if now - self._looked_s < _EVERY_S:
            return None
        self._looked_s = now
        path = self.root / ASKED
        if not path.exists():
            return None
        try:
            told = json.loads(path.read_bytes()[:_LARGEST])
            return Request(*(str(told[name]) for name in ("name", "path", "sha256")))
        except (OSError, ValueError, TypeError, KeyError):
            self.close(None, "the request cannot be read; make it again with `flowedge model swap`")
            return None

    def changed(self) -> list[Request]:
        """Models of the pipeline whose file is another one than the one that runs."""
        from flowedge.models.load import read  # noqa: PLC0415

        out = []
        for file in files_of(self.program):
            at = self.done.get(file.name)
            path, sha256 = (file.path, file.sha256) if at is None else (at.path, at.sha256)
            with contextlib.suppress(ModelError):
                digest = read(path)[1]
                if digest != sha256:
                    out.append(Request(file.name, path, digest))
        return out

    def serve(
        self, session: "Session", models: Models, asked: Asked, save: Callable[[], object]
    ) -> list[str]:
        """Do what is asked for, between two checkpoints that `save` makes; what became of it, in sentences."""
        found = self.changed() if asked.reload else []
        asked.reload = False
        waits = self.due()
        told = []
        for request in [*found, *([waits] if waits is not None else [])]:
            problem = ""
            try:
                model = self._fitting(request, session, models)
            except ModelError as error:
                problem = str(error)
                told.append(f"model {request.name} was not swapped for `{request.path}`: {problem}")
            else:
                save()
                models.add(request.name, model)
                session.replace_model(request.name, models.by_name[request.name])
                self.done[request.name] = request
                save()
                told.append(f"model {request.name}: `{request.path}` from here on, at a checkpoint")
            self.close(request, problem)
        return told

    def _fitting(self, request: Request, session: "Session", models: Models) -> Any:  # noqa: ANN401
        """The model that is asked for, which has answered frames of zeros; raises ModelError."""
        model = self.load(request)
        try:
            session.try_model(request.name, models.asked(model, request.name))
        except ModelError:
            close_models([model])
            raise
        return model

    def load(self, request: Request) -> Any:  # noqa: ANN401
        """The model that is asked for.

        Raises
        ------
        ModelError
            there is no such model in the pipeline, or the file does not keep the contract
        """
        file = next((f for f in files_of(self.program) if f.name == request.name), None)
        if file is None:
            have = ", ".join(f"`{f.name}`" for f in files_of(self.program)) or "none"
            raise ModelError(f"the pipeline has no model `{request.name}`; it has {have}")
        new = replace(file, path=request.path, sha256=request.sha256)
        at = self.done.get(request.name)
        before = file if at is None else replace(file, path=at.path, sha256=at.sha256)
        calls = [c for n in self.program.nodes if isinstance(n, p.ModelSpec) for c in n.calls]
        _keeps_the_contract(before, new, [c for c in calls if c.model == request.name])
        return load_model(new, self.trusted)

    def close(self, request: Request | None, problem: str = "") -> None:
        """Say what became of a request, and that it is done with; a disk that refuses is no reason to stop."""
        told = (
            {"problem": problem} if request is None else {**request.as_dict(), "problem": problem}
        )
        with contextlib.suppress(RunError, OSError):
            write(self.root / ANSWERED, json.dumps(told).encode())
            (self.root / ASKED).unlink()

    def state(self) -> dict[str, Any]:
        """What a checkpoint says of it."""
        return {name: request.as_dict() for name, request in self.done.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint says; raises CheckpointError."""
        try:
            self.done = {str(name): Request(**told) for name, told in state.items()}
        except TypeError:
            raise CheckpointError(
                "it is damaged: what it says of models that were swapped"
            ) from None


def _keeps_the_contract(
    before: p.ModelFileSpec, after: p.ModelFileSpec, calls: Sequence[p.CallSpec]
) -> None:
    """Compare what the new file says of itself with the old one, and with the plan; raises ModelError."""
    from flowedge.models.load import describe  # noqa: PLC0415

    new = describe(after.path, after.kind)
    if new.sha256 != after.sha256:
        raise ModelError(f"`{after.path}` has changed since it was asked for")
    told = new.info.manifest
    for call in calls:
        labels = call.heads[0][1] if call.heads and not call.heads[0][2] else ()
        if told is not None and told.labels and labels and told.labels != labels:
            raise ModelError(
                f"`{after.path}` was trained with other labels: {', '.join(told.labels)}"
            )
        if not _normalises_alike(told, call):
            raise ModelError(
                f"`{after.path}` normalises its inputs in another way; check the pipeline with it, and start it"
            )
    try:
        old = describe(before.path, before.kind)
    except ModelError:
        return  # the file is gone; the shapes of the answers are looked at before it runs
    if old.sha256 != before.sha256:
        return  # the new one lies in its place
    for what in ("inputs", "outputs"):
        a = [(list(x.shape[1:]), x.dtype) for x in getattr(old.info, what)]
        b = [(list(x.shape[1:]), x.dtype) for x in getattr(new.info, what)]
        if a and b and a != b:
            raise ModelError(f"`{after.path}` has other {what} than `{before.path}`: {b}, not {a}")
    if _rest(old.info.manifest) != _rest(told):
        raise ModelError(
            f"`{after.path}` tells another rate, or other channels or units, than `{before.path}`; check the pipeline with "
            "it, and start it"
        )


def _normalises_alike(told: "Manifest | None", call: p.CallSpec) -> bool:
    """Whether the means and deviations of a manifest are those that the plan applies to the columns."""
    given = [] if told is None else [(i.mean, i.std) for i in told.inputs]
    scaled = any(mean for mean, _ in call.scaling)
    if not scaled or not any(mean for mean, _ in given):
        return not scaled and not any(mean for mean, _ in given)
    if len(given) == len(call.scaling) > 1:
        return given == [*call.scaling]
    each = tuple(tuple(x for one in part for x in one) for part in zip(*call.scaling, strict=True))
    return len(given) == 1 and (each == given[0] or all(one == given[0] for one in call.scaling))


def _rest(told: "Manifest | None") -> object:
    if told is None:
        return None, []
    return told.rate_hz, [both for i in told.inputs if any(both := (i.channels, i.units))]
