"""Another text of the pipeline, for a run that goes on meanwhile: checked and compiled in a process of its own, made ready on a thread."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgpack

from flowedge.compile import program as p
from flowedge.lang.errors import FlowEdgeError, RunError
from flowedge.models.channel import environment
from flowedge.runtime.plan import Plan


@dataclass(slots=True)
class Recompile:
    """How a run came by its plan, to do the same again.

    Attributes
    ----------
    flow : the file
    params : values for ``param``
    required : the public key that must have signed all that is run; empty: none must
    """

    flow: str
    params: Mapping[str, str] = field(default_factory=dict)
    required: str = ""
    _seen: bytes = b""

    def __post_init__(self) -> None:
        """Note what the file is like."""
        self.has_changed()

    def has_changed(self) -> bool:
        """Whether the file is another one than at the last look; what it imports is not looked at."""
        try:
            found = hashlib.sha256(Path(self.flow).read_bytes()).digest()
        except OSError:
            found = b""
        before, self._seen = self._seen, found
        return found != before


class Attempt:
    """One look at the pipeline as it is now; made once, it is `done` at some time.

    Parameters
    ----------
    how : what is compiled
    prepare : called with the plan on the thread of the attempt; what it gives is `found`

    Attributes
    ----------
    found : what `prepare` gave; None where it was not called, or raised
    problem : why there is nothing
    warnings : what `check` has to say besides
    """

    def __init__(self, how: Recompile, prepare: Callable[[Plan], Any]) -> None:
        self.found: Any = None
        self.problem = self.warnings = ""
        self._how, self._prepare = how, prepare
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="flowedge-reload", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether there is an outcome."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """End it, whatever it is at."""
        with self._lock:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # of a real-time priority that the thread of the run has
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        try:
            plan = self._compiled()
            self.warnings = plan.warnings
            if not self._is_closed:
                self.found = self._prepare(plan)
        except FlowEdgeError as error:
            self.problem = str(error)
        except Exception as error:  # noqa: BLE001  # the run that is under way must not end of it
            self.problem = f"{type(error).__name__}: {error}"

    def _compiled(self) -> Plan:
        """The plan, made by a process that ends; raises RunError with what is wrong."""
        how = self._how
        asked = {"flow": how.flow, "params": dict(how.params), "required": how.required}
        with tempfile.TemporaryDirectory(prefix="flowedge-") as folder:
            out = Path(folder) / "plan"
            command = [sys.executable, "-P", "-m", "flowedge.runtime.operate.anew", str(out)]
            with self._lock:
                if self._is_closed:
                    raise RunError("the run ends")
                self._process = subprocess.Popen(  # noqa: S603  # it is ours
                    command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(),
                    start_new_session=True,
                )  # fmt: skip
            self._process.communicate(json.dumps(asked).encode())
            if self._process.returncode or not out.exists():
                raise RunError(
                    f"the process that compiles has ended with {self._process.returncode}"
                )
            told = msgpack.unpackb(out.read_bytes())
        if told["problem"]:
            raise RunError(told["problem"])
        return Plan(p.unpack(told["program"]), told["warnings"])


def differ_in_models_alone(before: p.Program, after: p.Program) -> bool:
    """Whether two programs are the same but for the bytes of their models, whose files have the same names."""
    if [(m.name, m.path, m.kind) for m in before.models] != [(m.name, m.path, m.kind) for m in after.models]:  # fmt: skip
        return False
    return _bare(before) == _bare(after)


def _bare(program: p.Program) -> bytes:
    return p.pack(replace(program, digest="", models=(), explained=""))
