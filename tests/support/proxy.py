"""A wire that a test can cut: a TCP proxy on a port of its own, in front of a real server."""

import contextlib
import socket
import threading

_CHUNK = 1 << 14


class Proxy:
    """Forwards connections to a server on this machine.

    `cut` ends all connections with a reset and refuses others until `mend`; `hang` keeps them open and lets no byte through
    until `mend`; `mute` swallows what the server says; `cut_after` cuts once so many more bytes have gone to the server, in the middle of whatever they are.

    Parameters
    ----------
    target : port of the server
    """

    def __init__(self, target):
        self.target = target
        self._lock = threading.Condition()
        self._pairs = set()
        self._is_hanging = self._is_mute = self._is_closed = False
        self._left = None
        self.cuts = 0
        self._listen(0)

    def _listen(self, port):
        self._server = socket.create_server(("127.0.0.1", port))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def _accept(self, server):
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                client.close()
                continue
            far.settimeout(None)
            pair = (client, far)
            with self._lock:
                self._pairs.add(pair)
            threading.Thread(target=self._forward, args=(client, far, pair, True), daemon=True).start()  # fmt: skip
            threading.Thread(target=self._forward, args=(far, client, pair, False), daemon=True).start()  # fmt: skip

    def _forward(self, near, far, pair, is_out):
        with contextlib.suppress(OSError):
            while data := near.recv(_CHUNK):
                with self._lock:
                    self._lock.wait_for(lambda: not self._is_hanging or self._is_closed)
                    is_due = False
                    if is_out and self._left is not None:
                        data = data[: self._left]
                        self._left -= len(data)
                        is_due = self._left <= 0
                    is_swallowed = self._is_mute and not is_out
                if not is_swallowed:
                    far.sendall(data)
                if is_due:
                    self.cut()
                    return
        self._end(pair)

    def _end(self, pair, *, reset=False):
        with self._lock:
            if pair not in self._pairs:
                return
            self._pairs.discard(pair)
        for one in pair:
            with contextlib.suppress(OSError):
                if reset:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def cut(self):
        """No way through."""
        self.cuts += 1
        with self._lock:
            self._left = None
            pairs = list(self._pairs)
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for pair in pairs:
            self._end(pair, reset=True)

    def cut_after(self, count):
        """Cut once so many more bytes have gone out."""
        with self._lock:
            self._left = count

    def hang(self):
        """Connections stay, and nothing moves."""
        with self._lock:
            self._is_hanging = True

    def mute(self):
        """The server hears all, and nobody hears the server."""
        with self._lock:
            self._is_mute = True

    def mend(self):
        """All is well again."""
        with self._lock:
            self._is_hanging = self._is_mute = False
            self._lock.notify_all()
        if self._server.fileno() < 0:
            self._listen(self.port)

    def close(self):
        """The end."""
        with self._lock:
            self._is_closed = True
            self._is_hanging = False
            self._lock.notify_all()
        self.cut()
