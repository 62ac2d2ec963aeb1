"""The pipelines of docs/live.md run as they stand, with a port of the test's own."""

import http.client
import json
import os
import re
import signal
import socket
import threading
from pathlib import Path

import pytest
from support.services import free_port

from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Interrupted, Run

PAGE = (Path(__file__).parents[2] / "docs" / "live.md").read_text("utf-8")
BLOCKS = {
    m[1].split("(")[0]: m[0].removeprefix("```flow live\n").removesuffix("```")
    for m in re.finditer(r"```flow live\nsource .*? from (.*?)```", PAGE, re.DOTALL)
}


def over_tcp(port, _folder):
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b'garbage\n{"device": "a", "v": 1}\n{"device": "b", "v": 2}\n')


def over_http(port, _folder):
    def post():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for body in ("garbage", '[{"v": 1}, {"v": 2}]'):
            connection.request("POST", "/ingest/north", body)
            connection.getresponse().read()
        connection.close()

    threading.Thread(target=post).start()


def over_udp(port, _folder):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(json.dumps({"v": 2}).encode(), ("127.0.0.1", port))


def over_serial(device, _folder):
    os.write(device, b"$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n")


def into_folder(_port, folder):
    (folder / "in" / "b-1.csv").write_text("at,v\n2026-01-01T00:00:00Z,1\n2026-01-01T00:00:01Z,2\n")


def into_pipe(_port, folder):
    with (folder / "mic").open("wb") as file:
        file.write(b"\0\x40" * 3200)


def over_pipe(_port, folder):
    pytest.importorskip("av")
    from support.clips import write  # noqa: PLC0415

    write(str(folder / "clip.ts"), 20, codec="mpeg2video", rate=25)
    os.mkfifo(folder / "gate.pipe")
    (folder / "gate.pipe").write_bytes((folder / "clip.ts").read_bytes())


def by_itself(_port, _folder):
    pass


@pytest.mark.parametrize(("name", "send", "rows", "wanted"), [
    ("host", by_itself, 2, "memory_share"), ("http", over_http, 3, '"north",2'), ("tcp", over_tcp, 3, '"b",2'), ("udp", over_udp, 1, ',2\n'), ("serial", over_serial, 5, "48.1173,11.51666"),
    ("dir", into_folder, 2, '"2026-01-01T00:00:01.000000000Z",2'), ("camera", over_pipe, 20, '"at":760000000,'),
    ("sound", into_pipe, 3200, "Z\",0.5\n"),
])  # fmt: skip
def test_the_pipelines_of_the_page_run(name, send, rows, wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    text, place = BLOCKS[name], free_port()
    text = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{place}", text)
    os.mkfifo(tmp_path / "mic")
    text = text.replace("/tmp/mic", f"{tmp_path}/mic")
    ends = os.openpty() if name == "serial" else ()
    if ends:
        text, place = text.replace("/dev/ttyUSB0", os.ttyname(ends[1])), ends[0]
    has_sent = False

    def goes_on(report):
        nonlocal has_sent
        if not has_sent or (
            ends and report.rows_in < rows
        ):  # the port drops what came before it was open
            send(place, tmp_path)
            has_sent = True
        elif report.rows_in >= rows:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        Run(compile_flow(text=text), progress=goes_on)()
    (written,) = (tmp_path / "out").glob("*.[cj]s*")
    assert wanted in written.read_text()
    for end in ends:
        os.close(end)
