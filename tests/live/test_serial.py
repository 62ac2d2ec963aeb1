"""Lines of a serial port, a pseudo-terminal here; garbage is passed over, and a port that went is found again."""

import contextlib
import os
import time

import pyarrow as pa
import pytest
from support.services import until

from flowedge.sources.framing import FramingError
from flowedge.sources.framing.nmea import Nmea
from flowedge.sources.live import Bell, Shell
from flowedge.sources.serial import Serial

pytest.importorskip("serial")
V = pa.schema([("v", pa.float64())])


@contextlib.contextmanager
def plugged(link):
    """A port under a name, and the end of the device."""
    device, port = os.openpty()
    link.unlink(missing_ok=True)
    link.symlink_to(os.ttyname(port))
    yield device
    os.close(device)
    os.close(port)


class Reader:
    """A source by itself, and what it gave."""

    def __init__(self, link, *, declared=V, **options):
        self.source = Serial(str(link), declared=declared, **{"on_error": "skip", **options})
        self.source.begin(Shell(Bell(), time.time_ns), None)
        self.rows, self.rejected = [], 0

    def until(self, holds):
        def look():
            for arrival in self.source.take():
                assert arrival.partition == ""
                self.rows += arrival.rows.to_pylist()
                self.rejected += 0 if arrival.rejected is None else arrival.rejected.num_rows
            return holds(self)

        until(look)

    def told(self, what, least=1):
        self.until(lambda s: s.source.told().get(what, 0) >= least)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.source.close()


def test_lines_of_csv_are_rows_and_a_port_that_is_unplugged_is_found_again(tmp_path):
    link = tmp_path / "ttyUSB0"
    with Reader(link, baud=115_200) as found:
        found.told("failed")
        with plugged(link) as device:
            found.told("connects")
            os.write(device, b"v\r\n1.5\r\nx\r\n\xff\xfe\r\n2.5\r\n3.")
            found.until(lambda s: len(s.rows) == 2 and s.rejected == 2)
        found.told("unplugged")
        with plugged(link) as device:
            found.told("connects", 2)
            os.write(device, b'{"v": 4.5}\n')
            found.until(lambda s: len(s.rows) == 3)
        assert [row["v"] for row in found.rows] == [1.5, 2.5, 4.5]


def test_sentences_of_nmea_are_rows_where_their_checksum_holds(tmp_path):
    link = tmp_path / "ttyS0"
    declared = pa.schema([
        ("type", pa.string()), ("lat", pa.float64()), ("altitude", pa.float64()), ("at", pa.timestamp("ns", "UTC")),
    ])  # fmt: skip
    with plugged(link) as device, Reader(link, declared=declared, framing="nmea") as found:
        found.told("connects")
        os.write(device, (
            b"7038,N,01131.000,E*47\r\n"
            b"$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n"
            b"$GPGGA,123520,4807.038,S,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*50\r\n"
            b"$GPGGA,123520,4807.038,S,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*00\r\n"
        ))  # fmt: skip
        found.until(lambda s: len(s.rows) + s.rejected == 4)
    told = [(r["type"], round(r["lat"], 4), r["altitude"], r["at"].isoformat()) for r in found.rows]
    assert told == [
        ("RMC", 48.1173, None, "1994-03-23T12:35:19+00:00"), ("GGA", -48.1173, 545.4, "1994-03-23T12:35:20+00:00"),
    ]  # fmt: skip


def test_a_line_without_an_end_is_given_up():
    found = Nmea()
    with pytest.raises(FramingError):
        found.feed(b"$" * 2000)
