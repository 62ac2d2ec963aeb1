"""PhysioNet's WFDB records and their annotations, through the `wfdb` package."""

import importlib
import lzma
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import BATCH_ROWS, Predicate, connector
from flowedge.sources.files import FileSource, constant, first_line, other_rate
from flowedge.sources.paths import Found, find
from flowedge.sources.simulate.ecg import SimulatedEcg
from flowedge.types.connectors import Option, Signature
from flowedge.types.metadata import RATE, START, UNIT

_RAISED = (
    ValueError, IndexError, KeyError, TypeError, AttributeError, OSError, ZeroDivisionError,
    AssertionError, OverflowError, UnboundLocalError, EOFError,
)  # fmt: skip
"""What the package raises at damaged headers and signals; it has no errors of its own."""

_SUFFIXES = (".hea", ".dat", ".mat", ".dat.xz")
_RECORD_COLUMNS = ("record", "patient")
_SIMULATED_SECONDS = 300.0
_TEXT = pa.dictionary(pa.int32(), pa.string())


class _WfdbSource(FileSource):
    """A record: its header beside its signal and annotation files."""

    suffix = ".hea"
    extra = "wfdb"

    @cached_property
    def found(self) -> list[Found]:
        """Records, looked up by their headers; the name of a signal file will do."""
        address = self.address
        for suffix in _SUFFIXES:
            address = address.removesuffix(suffix)
        return find(address, self.wanted_captures, suffix=".hea")

    @cached_property
    def _unpacked(self) -> str:
        """Where compressed signals are unpacked; removed with the source."""
        folder = tempfile.mkdtemp(prefix="flowedge-wfdb-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _header(self, path: str) -> Any:  # noqa: ANN401  # the package is untyped
        header = _call(path, _package().rdheader, path)
        if not header.fs or header.fs <= 0:
            raise SourceError(f"`{path}.hea` has no sampling frequency")
        return header

    @property
    def start_ns(self) -> int | None:
        """Date and time in the header, taken as UTC; None for a record without a date."""
        return _start_ns(self._header(self.found[0].path))


@connector("wfdb")
class Wfdb(_WfdbSource):
    """Read the signals of a WFDB record; its path is given without a suffix.

    Columns are the signals under their own names, in physical units, and the record's name as
    `record` and `patient`. Samples marked invalid are NaN. Signals that are sampled faster than
    the frame are averaged over it. A ``.dat.xz`` beside the header is unpacked to a temporary
    folder. A declared name that no signal has takes the signal that differs only in case.

    The address ``simulate`` (or ``simulate:SECONDS``) gives five minutes of the seeded simulator
    instead of a record, with as many leads as `names` has, so that a pipeline can be tried without one.
    """

    options = Signature((Option("names", "texts", (), "new names of the first signals, in order"),))

    def __new__(cls, address: str = "", **options: Any) -> Any:  # noqa: ANN401
        """A reader of records, or the simulator."""
        word, _, length = address.partition(":")
        if word != "simulate":
            return super().__new__(cls)
        return SimulatedRecord(length, tuple(options.get("names", ())))

    @property
    def rate_hz(self) -> float | None:
        """Frames per second, from the header."""
        return float(self._header(self.found[0].path).fs)

    def schema_of(self, path: str) -> pa.Schema:
        """Signals as float64 with their units, then the record's name."""
        header = self._header(path)
        head = self._read(path, 0, 1, None)
        fields = [
            pa.field(name, pa.float64(), metadata={UNIT: unit.encode()} if _is_unit(unit) else None)
            for name, unit in zip(self._names(head.sig_name), head.units, strict=True)
        ]
        fields += [pa.field(n, _TEXT) for n in _RECORD_COLUMNS]
        start = _start_ns(header)
        metadata = {RATE: repr(float(header.fs)).removesuffix(".0").encode()}
        if start is not None:
            metadata[START] = str(start).encode()
        return pa.schema(fields, metadata=metadata)

    def read(
        self, path: str, columns: list[str] | None, predicate: Predicate | None, skip: int
    ) -> Iterator[pa.RecordBatch]:
        """Blocks of frames."""
        schema = self.schema_of(path)
        names = columns if columns is not None else schema.names
        channels = [i for i, n in enumerate(schema.names[: -len(_RECORD_COLUMNS)]) if n in names]
        length = self._length(path)
        if (rate := float(self._header(path).fs)) != self.rate_hz:
            raise other_rate(path, rate, self.found[0].path, self.rate_hz)
        picked = pa.schema([schema.field(n) for n in names], metadata=schema.metadata)
        for at in range(skip, length, BATCH_ROWS):
            until = min(at + BATCH_ROWS, length)
            signals: dict[str, Any] = {}
            if channels:
                block = self._read(path, at, until, channels).p_signal
                if block is None or len(block) != until - at:
                    raise _cut_short(path)
                signals = {schema.names[c]: block[:, i] for i, c in enumerate(channels)}
            arrays = [
                pa.array(np.ascontiguousarray(signals[n]))
                if n in signals
                else constant(Path(path).name, _TEXT, until - at, path, n)
                for n in names
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=picked)

    def _length(self, path: str) -> int:
        """Frames in the record."""
        length = self._header(path).sig_len
        if length is None:  # old headers leave it out
            length = self._read(path, 0, None, None).sig_len
        if not length:
            raise SourceError(f"the record `{path}` has no samples (length 0)")
        return int(length)

    def _names(self, signals: list[str | None]) -> list[str]:
        """Unique column names: those given, those declared in another case, those of the header."""
        names: list[str] = []
        declared = {} if self.declared is None else {n.lower(): n for n in self.declared.names}
        for i, signal in enumerate(signals):
            name = signal or f"signal{i}"
            if i < len(self.given["names"]):
                name = self.given["names"][i]
            elif self.declared is not None and name not in self.declared.names:
                name = declared.get(name.lower(), name)
            unique, n = name, 2
            while unique in names or unique in _RECORD_COLUMNS:
                unique, n = f"{name}_{n}", n + 1
            names.append(unique)
        return names

    def _read(self, path: str, start: int, stop: int | None, channels: list[int] | None) -> Any:  # noqa: ANN401
        if self._header(path).sig_len == 0:
            raise SourceError(f"the record `{path}` has no samples (length 0)")
        where = self._unpack(path)
        return _call(
            path, _package().rdrecord, where, sampfrom=start, sampto=stop, channels=channels
        )

    def _unpack(self, path: str) -> str:
        """The path of the record, unpacked if its signals are compressed."""
        header, folder = self._header(path), Path(path).parent
        files = {f for f in header.file_name or () if f and f != "~"}
        missing = sorted(f for f in files if not (folder / f).exists())
        if not missing:
            return path
        for name in missing:
            if not (folder / f"{name}.xz").exists():
                raise SourceError(
                    f"`{path}.hea` names the signal file `{folder / name}`, which is not there"
                )
        target = Path(self._unpacked) / str(self._place(path))
        if not (target / Path(path).name).with_suffix(".ok").exists():
            target.mkdir(exist_ok=True)
            shutil.copyfile(f"{path}.hea", target / f"{Path(path).name}.hea")
            for name in files:
                _unpack_one(folder / name, target / name)
            (target / Path(path).name).with_suffix(".ok").touch()
        return str(target / Path(path).name)

    def _place(self, path: str) -> int:
        return next(i for i, one in enumerate(self.found) if one.path == path)


@connector("wfdb.annotations")
class WfdbAnnotations(_WfdbSource):
    """Read the annotations of a WFDB record: beats, rhythms, and whatever else was marked.

    Columns: `time`, from the record's date or 1970 and its sampling frequency; `sample`;
    `symbol`, the kind of mark (``N``, ``V``); `aux`, its text; `channel`, `number`, `subtype`;
    and the record's name as `record` and `patient`.
    """

    options = Signature(
        (Option("ext", "text", "atr", "suffix of the annotation file", positional=True),)
    )

    def paths(self) -> list[str]:
        """The annotation files."""
        return [f"{one.path}.{self.given['ext']}" for one in self.found]

    def schema_of(self, path: str) -> pa.Schema:
        """Always the same."""
        return pa.schema(
            [
                ("time", pa.timestamp("ns", "UTC")), ("sample", pa.int64()), ("symbol", _TEXT),
                ("aux", pa.string()), ("channel", pa.int32()), ("number", pa.int32()),
                ("subtype", pa.int32()), ("record", _TEXT), ("patient", _TEXT),
            ]
        )  # fmt: skip

    def read(
        self, path: str, columns: list[str] | None, predicate: Predicate | None, skip: int
    ) -> Iterator[pa.RecordBatch]:
        """All marks of a record; a few thousand an hour."""
        ext = self.given["ext"]
        find(f"{path}.{ext}", ())
        marks = _call(f"{path}.{ext}", _package().rdann, path, ext)
        header = self._header(path)
        fs = float(marks.fs or header.fs)
        samples = np.asarray(marks.sample, np.int64)
        times = np.rint(samples * 1e9 / fs).astype(np.int64) + (_start_ns(header) or 0)
        rows, name = len(samples), Path(path).name
        values = {
            "time": pa.array(times).cast(pa.timestamp("ns", "UTC")),
            "sample": pa.array(samples),
            "symbol": pa.array(marks.symbol, pa.string()).dictionary_encode(),
            "aux": pa.array([a.rstrip("\0") or None for a in marks.aux_note], pa.string()),
            "channel": pa.array(np.asarray(marks.chan, np.int32)),
            "number": pa.array(np.asarray(marks.num, np.int32)),
            "subtype": pa.array(np.asarray(marks.subtype, np.int32)),
            "record": constant(name, _TEXT, rows, path, "record"),
            "patient": constant(name, _TEXT, rows, path, "patient"),
        }
        names = columns if columns is not None else list(values)
        schema = self.schema_of(path)
        yield pa.RecordBatch.from_arrays(
            [values[n] for n in names], schema=pa.schema([schema.field(n) for n in names])
        ).slice(skip)


def _package() -> Any:  # noqa: ANN401  # untyped
    """The `wfdb` package, which takes a second to import: pandas and all."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("wfdb")
    except ImportError:
        raise SourceError(
            "reading WFDB records needs the extra `wfdb`: `pip install flowedge[wfdb]`"
        ) from None


def _call(path: str, function: Callable[..., Any], *args: object, **named: object) -> Any:  # noqa: ANN401
    """Call the package; what it raises becomes one sentence."""
    try:
        with warnings.catch_warnings():  # of pandas, to the package
            warnings.simplefilter("ignore")
            return function(*args, **named)
    except _RAISED as error:
        if "rdrecord" in function.__name__:
            raise _cut_short(path, error) from None
        raise SourceError(f"`{path}` is damaged or no WFDB file ({first_line(error)})") from None


def _cut_short(path: str, error: Exception | None = None) -> SourceError:
    detail = f" ({first_line(error)})" if error is not None else ""
    return SourceError(
        f"the signal file of the record `{path}` is damaged, or shorter than its header says{detail}"
    )


def _start_ns(header: Any) -> int | None:  # noqa: ANN401  # untyped
    if header.base_date is None or header.base_time is None:
        return None
    start = datetime.combine(header.base_date, header.base_time, tzinfo=UTC)
    since = start - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


def _is_unit(unit: str | None) -> bool:
    """``NU`` is WFDB's "no unit"."""
    return bool(unit) and unit not in ("NU", "nu", "n/u", "adu")


def _unpack_one(source: Path, target: Path) -> None:
    if source.exists():
        target.symlink_to(source.resolve())
        return
    packed = source.with_name(source.name + ".xz")
    try:
        with lzma.open(packed) as data, target.open("wb") as out:
            shutil.copyfileobj(data, out, 1 << 20)
    except (lzma.LZMAError, EOFError) as error:
        raise SourceError(f"`{packed}` is damaged or cut short ({first_line(error)})") from None
    except OSError as error:
        raise SourceError(f"cannot unpack `{packed}`: {error.strerror or error}") from None


class SimulatedRecord(SimulatedEcg):
    """The simulator in the place of a record, with as many leads as are named, one at least.

    Each lead after the first sees the same from behind, at half the height of the one before.
    """

    def __init__(self, length: str, names: tuple[str, ...]) -> None:
        try:
            seconds = float(length) if length else _SIMULATED_SECONDS
        except ValueError:
            raise SourceError(f"`simulate:{length}` is no length; write simulate:SECONDS") from None
        super().__init__("", seconds=seconds)
        self._names = names or ("mlii",)

    def schema(self) -> pa.Schema:
        """As of a record with these signals."""
        first, *others = super().schema()
        leads = [first.with_name(name) for name in self._names]
        return pa.schema([*leads, *others], metadata=super().schema().metadata)

    def _leads(self, values: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
        """Half as high from lead to lead, and upside down."""
        return tuple(values * (-0.5) ** k for k in range(len(self._names)))
