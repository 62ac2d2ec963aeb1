"""The pipelines of docs/live.md run as they stand, with a port of the test's own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.services import free_port, until

PAGE = (Path(__file__).parents[2] / "docs" / "live.md").read_text("utf-8")
BLOCKS = {
    m[1].split("(")[0]: m[0].removeprefix("```flow live\n").removesuffix("```")
    for m in re.finditer(r"```flow live\nsource .*? from (.*?)```", PAGE, re.DOTALL)
}


def over_tcp(port, _folder):
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b'garbage\n{"device": "a", "v": 1}\n{"device": "b", "v": 2}\n')


def over_udp(port, _folder):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(json.dumps({"v": 2}).encode(), ("127.0.0.1", port))


def over_serial(device, _folder):
    os.write(device, b"$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n")


def into_folder(_port, folder):
    (folder / "in" / "b-1.csv").write_text("at,v\n2026-01-01T00:00:00Z,1\n2026-01-01T00:00:01Z,2\n")


@pytest.mark.parametrize(("name", "send", "wanted"), [
    ("tcp", over_tcp, "b,2.0"), ("udp", over_udp, "2.0,127.0.0.1:"), ("serial", over_serial, "48.1173,11.51666"),
    ("dir", into_folder, "b,2.0"),
])  # fmt: skip
def test_the_pipelines_of_the_page_run(name, send, wanted, tmp_path):
    text, port = BLOCKS[name], free_port()
    (tmp_path / "in").mkdir()
    device = line = None
    if name == "serial":
        device, line = os.openpty()
        text = text.replace("/dev/ttyUSB0", os.ttyname(line))
    (tmp_path / "a.flow").write_text(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", text))
    command = [sys.executable, "-m", "flowedge", "run", "a.flow", "--quiet"]
    run = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def is_there():
        assert run.poll() is None, run.stderr.read()
        try:
            send(port if device is None else device, tmp_path)
        except OSError:
            return False
        return any(part.stat().st_size for part in (tmp_path / "out").rglob("*"))

    until(is_there, 90)
    time.sleep(1)
    run.send_signal(signal.SIGINT)
    told = run.communicate(timeout=60)[1]
    assert run.returncode == 130, told
    (written,) = (tmp_path / "out").glob("*.csv")
    assert wanted in written.read_text()
    for end in (device, line):
        if end is not None:
            os.close(end)
