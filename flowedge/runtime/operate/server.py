"""The port of a run: metrics, health, readiness and status, by HTTP.

Whoever asks is answered on a thread that is not the run's, from what the run has published last. Connections that do not
ask are closed: a few at a time have a place, and the oldest makes room for the next.
"""

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

from flowedge import __version__
from flowedge.lang.errors import RunError
from flowedge.runtime.operate.monitor import Monitor

_PLACES = 16
"""Connections that are served at a time."""
_TIMEOUT_S = 5.0
"""So long a peer may send nothing, or take nothing."""
_ADDRESS = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:\[\]/]*)):(?P<port>\d{1,5})\Z"
)

Answer = tuple[int, bytes, str]


def address_of(text: str) -> tuple[str, int]:
    """Host and port of ``:9464``, ``0.0.0.0:9464`` or ``[::1]:9464``; without a host, this machine alone.

    Raises
    ------
    ValueError
        it is none
    """
    found = _ADDRESS.match(text)
    if found is None or int(found["port"]) > 65_535:
        message = f"`{text}` is no address; give `:9464` (this machine alone), `0.0.0.0:9464` or `[::]:9464`"
        raise ValueError(message)
    return found["six"] or found["host"] or "127.0.0.1", int(found["port"])


class Port:
    """Serves what a run tells of itself.

    Parameters
    ----------
    host, port : where it listens; port 0: any that is free
    monitor : of the run

    Raises
    ------
    RunError
        it cannot listen there, or the package is missing that writes metrics
    """

    def __init__(self, host: str, port: int, monitor: Monitor) -> None:
        try:
            from flowedge.runtime.operate.exposition import Exposition  # noqa: PLC0415  # an extra
        except ImportError:
            raise RunError(
                "`--metrics` needs prometheus-client; `pip install 'flowedge[metrics]'`"
            ) from None
        exposition = Exposition(monitor)

        def metrics(accept: str) -> Answer:
            text, kind = exposition.text(accept)
            return 200, text, kind

        def told(found: dict[str, Any]) -> Answer:
            return (200 if found["ok"] else 503), _json(found), "application/json"

        answers: dict[str, Callable[[str], Answer]] = {
            "/metrics": metrics,
            "/health": lambda _: told(monitor.health()),
            "/ready": lambda _: told(monitor.readiness()),
            "/status": lambda _: (200, _json(monitor.status.as_dict() | {"loop_age_s": monitor.loop_age_s}), "application/json"),
        }  # fmt: skip
        try:
            self._server = _Server(host, port, answers)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise RunError(
                f"cannot listen on {_shown(host)}:{port} for `--metrics`: {why}"
            ) from None
        self.url = f"http://{_shown(host)}:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="flowedge-port", daemon=True,
        )  # fmt: skip
        self._thread.start()

    def close(self) -> None:
        """Stop to listen, and close all connections."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _json(found: Any) -> bytes:  # noqa: ANN401
    return (json.dumps(found, ensure_ascii=False, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:  # noqa: ANN401
    return value.item() if hasattr(value, "item") else str(value)


class _Server(HTTPServer):
    """A thread for each connection, of which there are few."""

    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, host: str, port: int, answers: dict[str, Callable[[str], Answer]]) -> None:
        self.answers = answers
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind without asking a name server for a name of this host, as the library would."""
        if self.allow_reuse_address:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = (
            str(self.server_address[0]),
            int(self.server_address[1]),
        )

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Serve a connection on a thread of its own; the oldest makes room where all places are taken."""
        thread = threading.Thread(
            target=self._serve, args=(request, client_address), name="flowedge-answer", daemon=True
        )
        with self._lock:
            while len(self._open) >= _PLACES:
                oldest = next(iter(self._open))
                del self._open[oldest]
                _cut(oldest)
            self._open[request] = thread
        thread.start()

    def _serve(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        try:
            self.finish_request(request, client_address)
        except (OSError, ValueError):  # it has gone, or was cut off
            pass
        finally:
            with self._lock:
                self._open.pop(request, None)
            self.shutdown_request(request)

    def server_close(self) -> None:
        """Close all connections, and wait for their threads."""
        super().server_close()
        with self._lock:
            left = dict(self._open)
            for request in left:
                _cut(request)
        for thread in left.values():
            thread.join(_TIMEOUT_S)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A connection that cannot be served is no matter of the run."""


def _cut(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    timeout: ClassVar[float] = _TIMEOUT_S
    server_version = f"flowedge/{__version__}"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one question."""
        assert isinstance(self.server, _Server)
        place = self.path.partition("?")[0].rstrip("/") or "/"
        wanted = self.server.answers.get(place)
        if wanted is not None:
            code, body, kind = wanted(self.headers.get("Accept", ""))
        elif place == "/":
            code, body, kind = 200, _json(sorted(self.server.answers)), "application/json"
        else:
            code, body, kind = (
                404,
                _json({"there": sorted(self.server.answers)}),
                "application/json",
            )
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  # the library's name

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401  # the library's name
        """Nothing is printed for each question."""
