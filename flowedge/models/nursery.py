"""Where the processes of an isolated model come from: ``python -m flowedge.models.nursery FD KIND``.

This process imports what runs the model, which takes seconds, and never runs it. Whenever a worker is asked for it
forks, which takes milliseconds; so a model that hung and was killed is there again at once. The worker gives up what
it does not need (`flowedge.models.confine`), loads the model from the bytes that were checked, and answers calls.
"""

import contextlib
import importlib
import os
import select
import signal
import socket
import sys
import tempfile
from typing import Any

import msgpack

from flowedge.compile.kernels.library import ready
from flowedge.compile.kernels.network import infer
from flowedge.lang.errors import FlowEdgeError
from flowedge.models.channel import Channel
from flowedge.models.confine import confine
from flowedge.models.load import build, prepare
from flowedge.models.programs import class_of
from flowedge.models.trust import Trust


def main(control: socket.socket, kind: str) -> None:
    """Fork workers as they are asked for, and say how they ended; until the run lets go."""
    prepare(kind)
    if kind == "torch":
        # What knows the shapes of answers: seconds here, or in each worker.
        importlib.import_module("torch._dynamo")
        importlib.import_module("torch._meta_registrations")
    reads, writes = os.pipe()
    os.set_blocking(reads, False)
    os.set_blocking(writes, False)
    signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # what they mean, the run decides
    control.send(msgpack.packb({"ready": True}))
    while True:
        ready, _, _ = select.select([control.fileno(), reads], [], [])
        if reads in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(reads, 4096)
            _tell_the_dead(control)
        if control.fileno() in ready:
            try:
                data, fds, _, _ = socket.recv_fds(control, 65536, 3)
            except ConnectionError:  # the run was killed
                return
            if not data:
                return
            if len(fds) == 3:
                _fork(control, reads, writes, kind, msgpack.unpackb(data), fds)


def _fork(
    control: socket.socket,
    reads: int,
    writes: int,
    kind: str,
    asked: dict[str, Any],
    fds: list[int],
) -> None:
    pid = os.fork()
    if pid:
        for fd in fds:
            os.close(fd)
        control.send(msgpack.packb({"pid": pid}))
        return
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (reads, writes):
            os.close(fd)
        control.close()
        work(kind, asked, *fds)
        status = 0
    finally:
        os._exit(status)


def _tell_the_dead(control: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with contextlib.suppress(OSError):
                control.send(
                    msgpack.packb({"died": pid, "code": os.waitstatus_to_exitcode(status)})
                )


def work(kind: str, asked: dict[str, Any], end: int, memory: int, model: int) -> None:
    """Load a model and answer calls, until the run lets go."""
    channel = Channel(socket.socket(fileno=end), memory)
    tempfile.tempdir = (
        "/"  # libraries ask for one as they are imported; nothing can be written there either
    )
    size = os.fstat(model).st_size
    data = os.pread(model, size, 0)
    confined = {}
    try:
        if asked["arch"]:
            class_of(asked["arch"])  # its file is out of reach later
        if not asked["exact"]:
            ready(infer)  # from a cache that is out of reach later
        if asked["device"] == "cpu":
            confined = confine()
        loaded = build(
            data,
            asked["sha256"],
            asked["path"],
            Trust(frozenset([asked["sha256"]]), frozenset([asked["arch"]])),
            kind,
            asked["device"],
            asked["arch"],
            exact=asked["exact"],
        )
    except FlowEdgeError as error:
        channel.send({"error": str(error)})
        return
    except Exception as error:  # noqa: BLE001  # it is told, by a process that ends
        channel.send({"error": f"{type(error).__name__}: {error}"[:1000]})
        return
    channel.send({"ready": True, "confined": confined})
    while True:
        try:
            _, inputs = channel.receive()
        except EOFError:
            return
        try:
            answers = loaded.infer(inputs)
            channel.send({}, answers)
        except FlowEdgeError as error:
            channel.send({"error": str(error)[:1000]})
        except Exception as error:  # noqa: BLE001  # whatever a model raises is told
            channel.send({"error": f"{type(error).__name__}: {error}"[:1000]})


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
