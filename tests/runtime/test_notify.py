"""Word to systemd, over real sockets: what is said, when, and that nothing of it can harm a run."""

import os
import signal
import socket
import threading

import pytest
from support.runs import Watched
from support.services import until

from flowedge.runtime.clock import Clock
from flowedge.runtime.operate.monitor import Monitor
from flowedge.runtime.operate.notify import Supervisor

FLOW = """
source s from host(every=20 ms) time time idle after 1 s
sink s | select cpu_load to csv("out.csv")
"""


class Manager:
    """The socket of a service manager, and what it hears."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(0.1)
        self.heard = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self):
        while not self._is_over.is_set():
            try:
                self.heard.append(self.socket.recv(4096).decode())
            except TimeoutError:
                continue

    def hears(self, text):
        return until(lambda: [one for one in list(self.heard) if one.startswith(text)], 60)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self._is_over.set()
        self._thread.join()
        self.socket.close()


@pytest.fixture
def address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    return str(tmp_path / "n")


def test_a_run_says_that_it_is_ready_alive_reloading_and_stopping(address, tmp_path):
    (tmp_path / "p.flow").write_text(FLOW)
    told = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"}
    with (
        Manager(address) as manager,
        Watched(tmp_path, "p.flow", "--checkpoint", "state", port=False, env=told.items()) as run,
    ):
        manager.hears("READY=1")
        manager.hears("STATUS=running: ")
        until(lambda: manager.heard.count("WATCHDOG=1") > 3, 60)
        run.process.send_signal(signal.SIGHUP)
        (reloading,) = manager.hears("RELOADING=1\nMONOTONIC_USEC=")
        assert int(reloading.rpartition("=")[2]) > 0
        until(lambda: manager.heard.count("READY=1") == 2, 60)
        assert manager.heard.index(reloading) < len(manager.heard) - 1 - manager.heard[::-1].index(
            "READY=1"
        )
        assert run.stop()[0] == 130
        manager.hears("STOPPING=1")
        assert manager.heard.count("STOPPING=1") == 1
    assert manager.heard[0] == "WATCHDOG=1" or manager.heard[0].startswith(("READY", "STATUS"))


def test_a_socket_without_a_file_is_reached_too():
    name = f"flowedge-{os.getpid()}"
    with Manager("\0" + name) as manager:
        supervisor = Supervisor({"NOTIFY_SOCKET": "@" + name})
        supervisor.status("two\nlines")
        assert manager.hears("STATUS=") == ["STATUS=two lines"]
        supervisor.close()


def test_programs_that_a_run_starts_do_not_speak_in_its_name():
    told = {
        "NOTIFY_SOCKET": "/nowhere",
        "WATCHDOG_USEC": "1000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    supervisor = Supervisor(told)
    assert told == {"HOME": "/"}
    assert supervisor.watchdog_ns == 1_000_000
    for say in (supervisor.ready, supervisor.alive, supervisor.reloading, supervisor.stopping):
        say()  # nobody is there, which is no error
    supervisor.close()
    supervisor.ready()


@pytest.mark.parametrize("told", [
    {}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"NOTIFY_SOCKET": "@"}, {"NOTIFY_SOCKET": "/" + "x" * 200},
    {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
])  # fmt: skip
def test_what_is_told_otherwise_means_that_nobody_listens(told):
    supervisor = Supervisor(dict(told))
    supervisor.ready()
    assert supervisor.watchdog_ns == 0
    supervisor.close()


class Hands(Clock):
    def __init__(self):
        self.at = 10**12

    def ns(self):
        return self.at


def test_the_watchdog_hears_of_the_loop_at_half_its_time_and_of_a_hung_one_nothing(address):
    clock = Hands()
    with Manager(address) as manager:
        supervisor = Supervisor({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000"}, clock)
        monitor = Monitor("x", clock, supervisor)
        monitor.ready()
        for _ in range(100):  # ten seconds of a loop that turns
            monitor.turn()
            clock.at += 10**8
            signs = -(-clock.at // 10**9) - 1000
            until(lambda signs=signs: manager.heard.count("WATCHDOG=1") >= min(signs, 10))
        clock.at += 10**10  # and as many in which it does not
        assert monitor.health()["reasons"] == [
            "the loop has not come around for 10 s (allowed: 2 s)"
        ]
        monitor.stopping()
        manager.hears("STOPPING=1")
        assert manager.heard.count("WATCHDOG=1") == 10
        monitor.close()
