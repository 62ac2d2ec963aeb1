"""What passes between a run and the process of a model: short messages, and arrays in shared memory."""

import mmap
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np

from flowedge.lang.errors import ModelError

Array = np.ndarray[Any, Any]

MOST_SHARED = 1 << 30
"""Bytes of the inputs and outputs of one call; the system gives memory only to what is used."""
_LONGEST = 1 << 16
_MOST_DIMENSIONS = 16
_KINDS = "fiub"
_ALIGNED = 64


def holding(data: bytes) -> int:
    """A file that is nowhere, with these bytes in it, for a process that is started with it."""
    fd = os.memfd_create("flowedge-model-file", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(data)
    return fd


def environment() -> dict[str, str]:
    """Of a process of our own: one thread, and the modules of this one."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # fmt: skip


def shared() -> int:
    """Memory that two processes see: a file that is nowhere."""
    fd = os.memfd_create("flowedge-model", os.MFD_CLOEXEC)
    os.ftruncate(fd, MOST_SHARED)
    return fd


class Channel:
    """One end: messages by a socket that keeps them apart, arrays by memory that both ends see.

    The other end may be hostile: nothing of a message is believed before it is looked at, and arrays are copied out.

    Parameters
    ----------
    end : of a SOCK_SEQPACKET pair
    memory : from `shared`
    """

    def __init__(self, end: socket.socket, memory: int) -> None:
        self.end = end
        self._map = mmap.mmap(memory, MOST_SHARED)
        self._bytes = np.frombuffer(self._map, np.uint8)

    def send(self, message: dict[str, Any], arrays: Sequence[Array] = ()) -> None:
        """Send a message, and arrays with it; raises OSError where the other end is gone, ModelError if too large."""
        told, at = [], 0
        for array in arrays:
            array = np.ascontiguousarray(array)  # noqa: PLW2901
            stop = at + array.nbytes
            if stop > MOST_SHARED:
                raise ModelError(f"a call of more than {MOST_SHARED >> 20} MiB")
            self._bytes[at:stop] = array.reshape(-1).view(np.uint8)
            told.append([array.dtype.str, list(array.shape), at])
            at = -(-stop // _ALIGNED) * _ALIGNED
        self.end.send(msgpack.packb({**message, "arrays": told}))

    def receive(self) -> tuple[dict[str, Any], list[Array]]:
        """The next message and its arrays.

        Raises
        ------
        EOFError
            the other end is gone
        ModelError
            what came is no message
        """
        try:
            data = self.end.recv(_LONGEST)
        except ConnectionError:
            data = b""
        if not data:
            raise EOFError
        try:
            message = msgpack.unpackb(data, max_ext_len=0)
            arrays = [self._array(*one) for one in message.pop("arrays")]
        except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException):
            raise ModelError("its process sent what is no answer") from None
        return message, arrays

    def _array(self, kind: str, shape: list[int], at: int) -> Array:
        dtype = np.dtype(str(kind))
        size = dtype.itemsize
        for length in shape:
            size *= length
        wrong = dtype.kind not in _KINDS or len(shape) > _MOST_DIMENSIONS
        if wrong or min([0, *shape]) < 0 or not 0 <= at <= at + size <= MOST_SHARED:
            message = "an array that is not there"
            raise ValueError(message)
        return self._bytes[at : at + size].copy().view(dtype).reshape(shape)

    def close(self) -> None:
        """Let go of both."""
        self.end.close()
        del self._bytes
        self._map.close()
