"""A model in a process of its own: it may crash, hang or be hostile, and is killed at its deadline and started again."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from flowedge.lang.errors import LateError, ModelError
from flowedge.models.channel import Channel, environment, holding, shared

Array = np.ndarray[Any, Any]

START_S = 120.0
"""So long a process may take to import what runs the model, and to load it."""
HANG_S = 30.0
"""A call that takes longer, where no deadline says less, hangs."""
_SHORTEST = 1e-4


@dataclass
class _Worker:
    """A process that answers, or will: `channel` says so when it is ready."""

    channel: Channel
    pid: int = 0
    pidfd: int = -1
    is_ready: bool = False


class Isolated:
    """Runs a model in another process, of the same bytes.

    Parameters
    ----------
    data : of the model's file, as they were checked
    sha256 : their digest
    path : for messages
    kind : ``torch``, ``onnx`` or ``litert``
    device : ``cpu``; or ``cuda``, whose driver needs files, so that the process is not cut off
    arch : ``module:Class`` of weights; it is imported before the process is cut off
    exact : a ``.pt2`` gives the bits that Torch gives

    Attributes
    ----------
    restarts : how often it was started again
    confined : what the kernel has taken away from the process: ``files``, ``network``

    Raises
    ------
    ModelError
        the process does not come up, or cannot load the model
    """

    def __init__(
        self,
        data: bytes,
        sha256: str,
        path: str,
        kind: str,
        device: str = "cpu",
        arch: str = "",
        *,
        exact: bool = True,
    ) -> None:
        self._path, self._kind, self.sha256 = path, kind, sha256
        self._asked = {
            "sha256": sha256,
            "path": path,
            "device": device,
            "arch": arch,
            "exact": exact,
        }
        self._model = holding(data)
        self.restarts = -1
        self.confined: dict[str, bool] = {}
        self._nursery: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._is_up = False
        self._worker: _Worker | None = None
        self._deaths: dict[int, int] = {}
        try:
            self._until_ready(time.monotonic() + START_S)
        except LateError:
            self.close()
            raise ModelError(
                f"model `{path}` is not ready after {START_S:g} s in its own process"
            ) from None
        except ModelError:
            self.close()
            raise

    def infer(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs for one batch of frames; raises LateError after `HANG_S`, ModelError where the model fails."""
        return self.infer_within(inputs, HANG_S)

    def infer_within(self, inputs: Sequence[Array], left_s: float) -> list[Array]:
        """As `infer`, within so many seconds; a process that takes longer is killed, and another one started.

        Raises
        ------
        LateError
            no answer in time, or the process is not up again yet
        ModelError
            the model fails, or its process has ended
        """
        until = time.monotonic() + max(left_s, _SHORTEST)
        self._until_ready(until)
        worker = self._worker
        assert worker is not None
        try:
            worker.channel.send({}, inputs)
        except OSError:
            raise ModelError(self._gone()) from None
        if not _comes(worker.channel.end, until):
            self._kill()
            raise LateError(f"no answer within {left_s * 1e3:.4g} ms: its process was killed")
        try:
            message, answers = worker.channel.receive()
        except EOFError:
            raise ModelError(self._gone()) from None
        if "error" in message:
            raise ModelError(str(message["error"])[:1000])
        return answers

    # ---- processes

    def _until_ready(self, until: float) -> None:
        """Wait for a worker; raises LateError if there is none in time, ModelError if it cannot load the model."""
        if self._worker is not None and self._worker.is_ready:
            return
        if self._nursery is None or self._nursery.poll() is not None:
            self._open_nursery()
        assert self._control is not None
        while not self._is_up:
            self._hear(until)
        if self._worker is None:
            self._ask_for_worker()
        worker = self._worker
        assert worker is not None
        while not worker.pid:
            self._hear(until)
        if not _comes(worker.channel.end, until):
            raise LateError("its process is being started")
        try:
            message, _ = worker.channel.receive()
        except EOFError:
            raise ModelError(self._gone()) from None
        if "ready" not in message:
            self._drop_worker()
            raise ModelError(str(message.get("error", "its process sent what is no answer"))[:1000])
        worker.is_ready = True
        self.confined = dict(message.get("confined") or {})

    def _open_nursery(self) -> None:
        self._drop_worker()
        if self._control is not None:
            self._control.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._nursery = subprocess.Popen(  # noqa: S603  # our own module, in this very Python
            [sys.executable, "-m", "flowedge.models.nursery", str(theirs.fileno()), self._kind],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=environment(),
        )  # fmt: skip
        theirs.close()
        self._control, self._is_up = ours, False

    def _ask_for_worker(self) -> None:
        assert self._control is not None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = shared()
        try:
            socket.send_fds(self._control, [msgpack.packb(self._asked)], [theirs.fileno(), memory, self._model])  # fmt: skip
            self._worker = _Worker(Channel(ours, memory))
            self.restarts += 1
        except OSError:
            ours.close()
            raise ModelError("its process cannot be started") from None
        finally:
            os.close(memory)
            theirs.close()

    def _hear(self, until: float) -> None:
        """Take one message of the nursery; raises LateError if none comes in time."""
        assert self._control is not None
        if not _comes(self._control, until):
            raise LateError("its process is being started")
        data = self._control.recv(65536)
        if not data:
            nursery, self._nursery = self._nursery, None
            code = None if nursery is None else nursery.wait()
            raise ModelError(f"its process could not be started (exit code {code})")
        message = msgpack.unpackb(data)
        if "ready" in message:
            self._is_up = True
        elif "pid" in message and self._worker is not None:
            self._worker.pid = message["pid"]
            with contextlib.suppress(OSError):  # it may have ended already
                self._worker.pidfd = os.pidfd_open(message["pid"])
        elif "died" in message:
            self._deaths[message["died"]] = message["code"]

    def _gone(self) -> str:
        """Why a worker that answers no more has ended; another one is asked for."""
        pid = self._worker.pid if self._worker is not None else 0
        until = time.monotonic() + 1
        with contextlib.suppress(LateError, ModelError):
            while pid and pid not in self._deaths:
                self._hear(until)
        code = self._deaths.pop(pid, None)
        self._drop_worker()
        self._again()
        if code is not None and code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        return "its process has ended" + ("" if code is None else f" (exit code {code})")

    def _kill(self) -> None:
        self._drop_worker()
        self._again()

    def _again(self) -> None:
        """Ask for another worker at once, so that it is there when the next frames come."""
        with contextlib.suppress(ModelError, LateError):
            if self._nursery is not None and self._nursery.poll() is None and self._is_up:
                self._ask_for_worker()

    def _drop_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        if worker.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(worker.pidfd, signal.SIGKILL)
            os.close(worker.pidfd)
        worker.channel.close()

    def close(self) -> None:
        """End all processes."""
        self._drop_worker()
        if self._control is not None:
            self._control.close()
        nursery, self._nursery = self._nursery, None
        if nursery is not None:
            nursery.kill()
            nursery.wait()
        if self._model >= 0:
            os.close(self._model)
            self._model = -1


def _comes(end: socket.socket, until: float) -> bool:
    """Whether something comes before a time of the monotonic clock [s]."""
    poll = select.poll()
    poll.register(end, select.POLLIN | select.POLLHUP)
    while True:
        left = until - time.monotonic()
        if left <= 0:
            return bool(poll.poll(0))
        if poll.poll(max(left * 1000, 0.05)):
            return True
