"""A run in a process of its own that tells what happens, and can be asked."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request

from support.services import until

SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Watched:
    """`flowedge run` with a port and lines of JSON, whose standard error is read as it comes.

    Parameters
    ----------
    folder : where it works
    more : of its command line
    env : variables besides
    port : whether it serves metrics
    """

    def __init__(self, folder, *more, port=True, log=("--log", "json"), env=()):
        command = [sys.executable, "-m", "flowedge", "run", *map(str, more), *log]
        command += ["--metrics", "127.0.0.1:0"] if port else []
        self.process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **dict(env)},
        )  # fmt: skip
        self.lines = []
        self._reads = threading.Thread(target=self._read, daemon=True)
        self._reads.start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)

    @property
    def events(self):
        return [json.loads(line) for line in list(self.lines)]

    def all_of(self, event):
        """Every such event so far."""
        return [one for one in self.events if one["event"] == event]

    def event(self, event, count=1):
        """Wait for the so-manieth event of a name."""

        def found():
            there = self.all_of(event)
            assert len(there) >= count or self.process.poll() is None, self.lines
            return there[count - 1] if len(there) >= count else None

        return until(found, 120)

    @property
    def url(self):
        return self.event("metrics")["url"]

    def get(self, path):
        """Code and text of an answer."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def json(self, path):
        """An answer as data."""
        return json.loads(self.get(path)[1])

    def metrics(self):
        """All samples: by name, a value for each set of labels."""
        return samples(self.get("/metrics")[1])

    def stop(self, number=signal.SIGTERM):
        """Ask it to end; its exit code and what it printed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(120)
        self._reads.join(20)
        with self.process.stdout, self.process.stderr:
            out = self.process.stdout.read()
        assert not any("Traceback" in line for line in self.lines), self.lines
        return code, out

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)
        self._reads.join(20)
        self.process.stdout.close()
        self.process.stderr.close()


def samples(text):
    """What a scrape says: by name, values by their labels as a frozenset of pairs."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, labels, value = SAMPLE.match(line).groups()
            found.setdefault(name, {})[frozenset(LABEL.findall(labels or ""))] = float(value)
    return found


def only(found, **labels):
    """The one value of a metric with these labels."""
    wanted = set(labels.items())
    (value,) = [v for have, v in found.items() if wanted <= have]
    return value
