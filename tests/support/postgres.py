"""A PostgreSQL of a test's own: a cluster on a free port, which can be killed, frozen and started again."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import adbc_driver_postgresql.dbapi as driver
import psutil
from support.services import free_port, require


def programs():
    """The folder of the installed programs; None: there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    here = shutil.which("initdb")
    return found[-1].parent if found else Path(here).parent if here else None


def needed():
    """Skip, or fail where all is required, without the programs."""
    require("PostgreSQL", programs() is not None)
    is_root = os.geteuid() == 0
    users = {u.pw_name for u in pwd.getpwall()}
    require("a user `postgres` (PostgreSQL refuses root)", not is_root or "postgres" in users)


class Cluster:
    """One server; `address` is where, as its superuser, on a database of its own."""

    def __init__(self):
        self.bin = programs()
        self.root = Path(tempfile.mkdtemp(prefix="flowedge-postgres-"))
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.root, self.user)
        self.port = free_port()
        self._do("initdb", "-D", self.root / "data", "-U", "flow", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")  # fmt: skip
        # A process that is killed loses nothing that the system has; the tests do not cut the power of the server.
        with (self.root / "data/postgresql.conf").open("a") as file:
            file.write("fsync = off\nshared_buffers = 16MB\nmax_connections = 30\nunix_socket_directories = ''\nlisten_addresses = '127.0.0.1'\n")  # fmt: skip
        self.process = None
        self.start()

    def _do(self, name, *args):
        subprocess.run([self.bin / name, *map(str, args)], check=True, capture_output=True, user=self.user, cwd=self.root)  # fmt: skip

    @property
    def address(self):
        return self.at(self.port)

    def at(self, port):
        """The address through another port."""
        return f"postgresql://flow@127.0.0.1:{port}/postgres"

    def start(self):
        """Start, and wait until it answers."""
        for _ in range(100):
            if self.process is None or self.process.poll() is not None:
                self.process = subprocess.Popen(
                    [self.bin / "postgres", "-D", self.root / "data", "-p", str(self.port)],
                    user=self.user, cwd=self.root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
            with contextlib.suppress(driver.Error):
                driver.connect(self.address + "?connect_timeout=5").close()
                return
            time.sleep(0.05)
        raise AssertionError("PostgreSQL does not start")

    def _processes(self):
        with contextlib.suppress(psutil.NoSuchProcess):
            mother = psutil.Process(self.process.pid)
            return [mother, *mother.children(recursive=True)]
        return []

    def _all(self, number):
        for one in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)

    def kill(self):
        """All its processes are gone at once."""
        found = self._processes()
        self._all(signal.SIGKILL)
        self.process.wait()
        psutil.wait_procs(found, 10)

    def freeze(self):
        """It stands still; what others send to it, the system takes."""
        self._all(signal.SIGSTOP)

    def thaw(self):
        """It goes on."""
        self._all(signal.SIGCONT)

    def rows(self, sql, *values):
        """What a query gives."""
        with driver.connect(self.address) as connection, connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            found = cursor.fetchall()
            connection.commit()
            return found

    def do(self, *statements):
        """Statements without an answer."""
        with driver.connect(self.address) as connection, connection.cursor() as cursor:
            for sql in statements:
                cursor.execute(sql)
            connection.commit()

    def close(self):
        """The end of it."""
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)
