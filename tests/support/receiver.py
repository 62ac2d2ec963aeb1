"""A server that takes requests, as a process: ``receiver.py PORT FILE keys|all``; a line of FILE for each that it took.

With ``keys`` it takes what comes under one ``Idempotency-Key`` once; a line is written whole before the answer is, so that the
process may be killed at any time.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        key = self.headers.get("Idempotency-Key")
        with LOCK:
            if not (HONOURS and KNOWN.get(key) == body):
                assert not (HONOURS and key in KNOWN), "one key, two bodies"
                KNOWN[key] = body
                line = {"path": self.path, "key": key, "body": body.decode()}
                os.write(FILE, json.dumps(line).encode() + b"\n")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def taken(path):
    """What a receiver has taken, in order."""
    return [json.loads(line) for line in Path(path).read_bytes().splitlines()] if Path(path).exists() else []  # fmt: skip


if __name__ == "__main__":
    HONOURS = sys.argv[3] == "keys"
    KNOWN = {one["key"]: one["body"].encode() for one in taken(sys.argv[2])}
    FILE = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
