"""Someone who speaks NATS on a plain socket: publishes, listens, and asks JetStream."""

import base64
import contextlib
import itertools
import json
import socket
import threading
import time

from support.services import until


class Peer:
    """Keeps all that it hears, as (subject, header, payload), in order; it comes back to its subjects if it loses the line."""

    def __init__(self, port, *subjects, **connect):
        self.port, self.subjects, self.connect = port, subjects, connect
        self.found, self.answers = [], {}
        self._numbers = itertools.count(1)
        self._is_closed = False
        self._lock, self._changed = threading.Lock(), threading.Condition()
        self.pongs = self.turns = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        until(lambda: self.turns)
        self.flush()

    def _run(self):
        while not self._is_closed:
            with contextlib.suppress(OSError):
                self.sock = socket.create_connection(("127.0.0.1", self.port), 5)
                with self.sock, self.sock.makefile("rb") as lines:
                    self.sock.settimeout(None)
                    lines.readline()
                    told = json.dumps(
                        {"verbose": False, "headers": True, "no_responders": True, **self.connect}
                    )
                    subs = [
                        f"SUB {s} {k}\r\n" for k, s in enumerate(("_PEER.>", *self.subjects), 1)
                    ]
                    self.sock.sendall(f"CONNECT {told}\r\n{''.join(subs)}".encode())
                    self.turns += 1
                    self._read(lines)
            time.sleep(0.02)

    def _read(self, lines):
        while line := lines.readline():
            word, *told = line.split()
            if word == b"PING":
                self._send(b"PONG\r\n")
            elif word == b"PONG":
                self.pongs += 1
            elif word in (b"MSG", b"HMSG"):
                size = int(told[-1])
                body = lines.read(size + 2)[:size]
                middle = int(told[-2]) if word == b"HMSG" else 0
                one = (told[0].decode(), body[:middle], body[middle:])
                if one[0].startswith("_PEER."):
                    with self._changed:
                        self.answers[one[0]] = one
                        self._changed.notify_all()
                else:
                    self.found.append(one)

    def _send(self, data):
        with self._lock:
            self.sock.sendall(data)

    def flush(self):
        """Wait until the server has read all."""
        before, turn = self.pongs, self.turns
        self._send(b"PING\r\n")
        until(lambda: self.pongs > before or self.turns > turn)
        if self.turns > turn:
            raise ConnectionError

    def is_back(self):
        """Whether there is a way to the server."""
        try:
            self.flush()
        except OSError:
            return False
        return True

    def __call__(self, subject, payload, headers=None, reply=""):
        """Publish one message, and wait until the server has read it."""
        self.send(subject, payload, headers, reply)
        self.flush()

    def send(self, subject, payload, headers=None, reply=""):
        """Publish one message."""
        payload = payload.encode() if isinstance(payload, str) else payload
        head = b""
        if headers:
            head = (
                "NATS/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
            ).encode()
        sizes = f"{len(head)} {len(head) + len(payload)}" if headers else f"{len(payload)}"
        self._send(
            f"{'HPUB' if headers else 'PUB'} {subject} {reply} {sizes}\r\n".encode()
            + head
            + payload
            + b"\r\n"
        )

    def asked(self, questions):
        """What is answered to each (subject, payload, headers), as JSON."""
        inboxes = []
        for subject, payload, headers in questions:
            inboxes.append(f"_PEER.{next(self._numbers)}")
            self.send(subject, payload, headers, inboxes[-1])
        with self._changed:
            assert self._changed.wait_for(lambda: all(one in self.answers for one in inboxes), 30)
        found = [json.loads(self.answers.pop(one)[2]) for one in inboxes]
        assert not any("error" in one for one in found), found
        return found

    def api(self, what, more=None):
        """Ask JetStream."""
        (told,) = self.asked([(f"$JS.API.{what}", "" if more is None else json.dumps(more), None)])
        return told

    def stream(self, name, *subjects, **more):
        """Make a stream."""
        self.api(
            f"STREAM.CREATE.{name}",
            {"name": name, "subjects": list(subjects), "storage": "file", **more},
        )

    def keep(self, subject, *payloads, headers=None):
        """Publish messages to a stream; the number of the last."""
        return self.asked([(subject, payload, headers) for payload in payloads])[-1]["seq"]

    def kept(self, name):
        """All that a stream holds, in order: (subject, payload)."""
        state = self.api(f"STREAM.INFO.{name}")["state"]
        numbers = range(state["first_seq"], state["last_seq"] + 1)
        found = self.asked(
            (f"$JS.API.STREAM.MSG.GET.{name}", json.dumps({"seq": n}), None) for n in numbers
        )
        messages = [one["message"] for one in found]
        return [(m["subject"], base64.b64decode(m.get("data", ""))) for m in messages]

    def close(self):
        """End it."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()
