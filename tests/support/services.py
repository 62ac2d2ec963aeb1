"""Programs that tests talk to: started on free ports, killed, frozen, and started again."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest


def require(what, is_there):
    """Skip a test whose service is not there; where all are required, fail."""
    if is_there:
        return
    if os.environ.get("FLOWEDGE_REQUIRE_ALL"):
        pytest.fail(f"{what} is not there, and FLOWEDGE_REQUIRE_ALL is set")
    pytest.skip(f"{what} is not there")


def program(name):
    """Where a program lies; skips the test without it."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    require(f"the program `{name}`", found)
    return found


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def until(holds, seconds=30.0):
    """Wait until something holds; it fails the test after so long."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)
    return found


class Service:
    """A program that listens on a port of its own.

    Parameters
    ----------
    command : what starts it
    folder : where it works
    port : where it will listen
    """

    def __init__(self, command, folder, port):
        self.command, self.folder, self.port = command, folder, port
        self.process = None

    def start(self):
        """Start it, and wait until it listens."""
        self.process = subprocess.Popen(
            self.command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._listens)
        return self

    def _listens(self):
        assert self.process.poll() is None, (
            f"{self.command[0]} ended with {self.process.returncode}"
        )
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def send(self, number):
        """Send it a signal."""
        self.process.send_signal(number)

    def freeze(self):
        """Let it stand still, its connections open; all its threads do when this is back."""
        self.send(signal.SIGSTOP)
        stat = Path(f"/proc/{self.process.pid}/stat")
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")

    def thaw(self):
        """Let it go on."""
        self.send(signal.SIGCONT)

    def stop(self, number=signal.SIGTERM):
        """End it, SIGKILL at once."""
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.send(number)
            self.process.wait(20)

    def kill(self):
        """End it at once, whatever it was doing."""
        self.stop(signal.SIGKILL)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_error):
        self.stop()


def mosquitto(folder, *lines):
    """An MQTT broker that keeps its sessions on the disk; `lines` are of its configuration."""
    where, port = program("mosquitto"), free_port()
    kept = folder / "mosquitto"
    kept.mkdir()
    told = [
        *(lines or (f"listener {port} 127.0.0.1", "allow_anonymous true")), "persistence true",
        f"persistence_location {kept}/", "autosave_interval 1", "autosave_on_changes true", "user root",
        "max_queued_messages 0", "log_dest none",
    ]  # fmt: skip
    (folder / "mosquitto.conf").write_text("\n".join(told).replace("PORT", str(port)) + "\n")
    return Service([where, "-c", str(folder / "mosquitto.conf")], folder, port)


def nats_server(folder, *lines):
    """A NATS server with JetStream, which keeps its streams on the disk; `lines` are of its configuration."""
    where, port = program("nats-server"), free_port()
    told = [
        f"listen: 127.0.0.1:{port}",
        f'jetstream {{ store_dir: "{folder / "jetstream"}" }}',
        *lines,
    ]
    (folder / "nats.conf").write_text("\n".join(told) + "\n")
    return Service([where, "-c", str(folder / "nats.conf")], folder, port)
