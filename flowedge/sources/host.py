"""The sensors of the machine itself: load, memory, disks, network and temperature, by psutil."""

import threading
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import connector
from flowedge.sources.live import Arrival, LiveSource, Shell
from flowedge.types.connectors import Option, Signature
from flowedge.types.metadata import UNIT

_COLUMNS = (
    ("cpu_load", "percent"), ("load1", ""), ("load5", ""), ("load15", ""), ("memory_used", "byte"), ("memory_share", "percent"),
    ("swap_used", "byte"), ("disk_read", "byte/second"), ("disk_written", "byte/second"), ("received", "byte/second"),
    ("sent", "byte/second"), ("processes", ""), ("cpu_temperature", "degC"),
)  # fmt: skip
_TEMPERATURES = (
    "coretemp",
    "k10temp",
    "zenpower",
    "cpu_thermal",
    "cpu-thermal",
    "soc_thermal",
    "acpitz",
)
"""Names that drivers give to the sensor of the processor, the surest first."""
_MOST_WAITING = 100_000


@connector("host")
class Host(LiveSource):
    """Measure this machine: load, memory, disks, network, temperature, once every `every`.

    A row has ``time``, ``cpu_load`` (share of all cores since the row before), ``load1``, ``load5``, ``load15`` (processes that
    want to run, averaged over so many minutes), ``memory_used``, ``memory_share``, ``swap_used``, ``disk_read``,
    ``disk_written``, ``received`` and ``sent`` (per second since the row before), ``processes``, and ``cpu_temperature``, missing
    where the machine does not tell. One partition. What came while the run was stopped is not measured later.
    """

    extra = "host"
    needs_address = False
    describes_itself = True
    options = Signature((Option("every", "duration", 1.0, "between two rows, at least 10 ms [s]"),))

    def schema(self) -> pa.Schema | None:
        """Time, and float64 columns with their units."""
        stamp = pa.field("time", pa.timestamp("ns", "UTC"))
        values = [
            pa.field(name, pa.float64(), metadata={UNIT: unit.encode()} if unit else None)
            for name, unit in _COLUMNS
        ]
        return pa.schema([stamp, *values])

    def begin(self, shell: Shell, state: Mapping[str, Any] | None) -> None:
        """Start to measure; raises SourceError."""
        del state
        every = float(self.given["every"])
        if not 0.01 <= every < 1e6:
            raise SourceError(f"`host` cannot measure every {every:g} s; take 10 ms or more")
        try:
            import psutil  # noqa: PLC0415  # an extra
        except ImportError:
            raise SourceError("`host` needs psutil; `pip install 'flowedge[host]'`") from None
        self._meter = _Meter(psutil)
        self._shell, self._every = shell, every
        self._waiting: list[tuple[int, list[float]]] = []
        self._lost = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._measure, name="flowedge-host", daemon=True)
        self._thread.start()

    def _measure(self) -> None:
        while not self._is_over.wait(self._every):
            if len(self._waiting) < _MOST_WAITING:
                self._waiting.append((self._shell.wall(), self._meter.read()))
                self._shell.bell.ring()
            else:
                self._lost += 1

    def take(self) -> list[Arrival]:
        """The rows measured since the last call."""
        count = len(self._waiting)
        rows, self._waiting[:count] = self._waiting[:count], []
        if not rows:
            return []
        schema = self.schema()
        assert schema is not None
        times = pa.array([at for at, _ in rows], pa.int64()).cast(schema.field("time").type)
        columns = [
            pa.array(column, pa.float64()) for column in zip(*(v for _, v in rows), strict=True)
        ]
        batch = pa.RecordBatch.from_arrays([times, *columns], schema=schema)
        return [Arrival("", batch, rows[-1][0])]

    def told(self) -> dict[str, int]:
        """Rows that were lost, for nobody took them."""
        return {"lost": self._lost} if self._lost else {}

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that wait."""
        return len(self._waiting) * 8 * (len(_COLUMNS) + 1)

    def close(self) -> None:
        """Stop to measure."""
        if hasattr(self, "_is_over"):
            self._is_over.set()
            self._thread.join()


class _Meter:
    """Reads all figures; those of traffic as rates since the reading before."""

    def __init__(self, psutil: Any) -> None:  # noqa: ANN401  # the module, which has no types
        self._psutil = psutil
        psutil.cpu_percent()  # the first call has nothing to compare with
        self._before = (time.monotonic(), self._traffic())

    def _traffic(self) -> list[float]:
        disk, net = self._psutil.disk_io_counters(), self._psutil.net_io_counters()
        nan = float("nan")
        return [
            *((nan, nan) if disk is None else (disk.read_bytes, disk.write_bytes)),
            *((nan, nan) if net is None else (net.bytes_recv, net.bytes_sent)),
        ]

    def _temperature(self) -> float:
        read = getattr(self._psutil, "sensors_temperatures", None)
        found = read() if read is not None else {}
        for name in _TEMPERATURES:
            values = [s.current for s in found.get(name, ()) if s.current is not None]
            if values:
                return float(max(values))
        return float("nan")

    def read(self) -> list[float]:
        """One value for each column."""
        psutil = self._psutil
        memory, traffic, now = psutil.virtual_memory(), self._traffic(), time.monotonic()
        span = max(now - self._before[0], 1e-9)
        rates = [(b - a) / span for a, b in zip(self._before[1], traffic, strict=True)]
        self._before = (now, traffic)
        return [
            psutil.cpu_percent(), *psutil.getloadavg(), memory.used, memory.percent, psutil.swap_memory().used, *rates,
            len(psutil.pids()), self._temperature(),
        ]  # fmt: skip
