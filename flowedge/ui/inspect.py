"""What a file holds, told in a few lines."""

import json
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flowedge.lang.errors import RunError
from flowedge.session.ledger import Counts
from flowedge.session.snapshot import CHECKPOINT
from flowedge.sources.contract import REJECTED
from flowedge.types.encryption import encryption_key, parquet_decryption
from flowedge.types.metadata import UNIT
from flowedge.ui.models import describe as describe_model


def describe(path: Path, rows: int, key: str | None = None) -> str:
    """Schema with units, number of rows, provenance and the first rows of a file.

    Parameters
    ----------
    path : an Arrow or Parquet file, a directory of Parquet or of checkpoints, a recording, a model, a quarantine file, a checkpoint
    rows : how many to show
    key : where the key of an encrypted file, or of an authenticated checkpoint, lies

    Raises
    ------
    RunError
        the file is missing, or of no kind that is known here
    """
    if not path.exists():
        raise RunError(f"there is no file `{path}`")
    if path.is_dir():
        from flowedge.runtime.checkpoint import checkpoints_in  # noqa: PLC0415

        saved, parts = checkpoints_in(path), sorted(path.rglob("*.parquet"))
        if saved:
            several = f"{path}: {len(saved)} checkpoints; the newest:\n" if len(saved) > 1 else ""
            return several + _checkpoint(saved[-1][1], key)
        if not parts:
            raise RunError(
                f"`{path}` is a directory without Parquet files or checkpoints; give a file"
            )
        return f"{path}: {len(parts)} Parquet files; the first:\n" + describe(parts[0], rows, key)
    try:
        head = path.open("rb").read(8)
    except OSError as error:
        raise RunError(f"cannot read `{path}`: {error.strerror}") from None
    try:
        if head.startswith((b"PAR1", b"PARE")):
            if head.startswith(b"PARE") and key is None:
                raise RunError(f"`{path}` is encrypted; say where its key lies: `--key KEY`")
            opened = None if key is None else parquet_decryption(encryption_key(key))
            table = pq.ParquetFile(path, decryption_properties=opened)
            return _table(
                path,
                table.schema_arrow,
                table.metadata.num_rows,
                table.read_row_group(0).slice(0, rows) if table.num_row_groups else None,
            )
        if head.startswith(b"ARROW1"):
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            count = sum(reader.get_batch(k).num_rows for k in range(reader.num_record_batches))
            first = (
                pa.Table.from_batches([reader.get_batch(0)]).slice(0, rows)
                if reader.num_record_batches
                else None
            )
            return _table(path, reader.schema, count, first)
        if head.startswith(b"\xff\xff\xff\xff"):
            return _source("arrow", path, rows)
        if path.suffix in SOURCES:
            return _source(SOURCES[path.suffix], path, rows)
        if head.startswith(b"PK\x03\x04") or path.suffix == ".onnx":
            return describe_model(path)
        if head == CHECKPOINT:
            return _checkpoint(path, key)
        return _quarantine(path, rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise RunError(
            f"`{path}` is damaged or not an Arrow or Parquet file: {str(error).splitlines()[0]}"
        ) from None


SOURCES = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".wav": "wav", ".flac": "flac", ".npz": "npz", ".hea": "wfdb",
    ".mp4": "video", ".mov": "video", ".mkv": "video", ".avi": "video", ".webm": "video",
}  # fmt: skip
"""Other files that a source reads, by suffix."""


def ledger(path: Path, key: bytes | None = None) -> str:
    """What became of the rows of each stage, as a report or a checkpoint tells it.

    Parameters
    ----------
    path : a report (``run --report``), a checkpoint, or a directory of checkpoints
    key : of authenticated checkpoints

    Raises
    ------
    RunError
        it holds no ledger
    """
    if not path.exists():
        raise RunError(f"there is no file `{path}`")
    head, streams = _streams(path, key)
    if not streams:
        raise RunError(f"`{path}` tells of no rows")
    fates = ("used", "filtered", "late", "duplicate", "rejected", "shed", "incomplete", "held")
    names = ("rows_in", "rows_out", *fates)
    wrong = [n for n, c in streams.items() if c["rows_in"] != sum(c[f] for f in fates)]
    rows: list[tuple[str, ...]] = [("stage", "in", "out", *fates)]
    rows += [(name, *(f"{c[n]:,}" for n in names)) for name, c in streams.items()]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [head]
    for row in rows:
        cells = (c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    lines.append(
        f"DOES NOT ADD UP: {', '.join(wrong)}"
        if wrong
        else "each row that went in has one fate: in = " + " + ".join(fates)
    )
    return "\n".join(lines)


def _streams(path: Path, key: bytes | None) -> tuple[str, dict[str, dict[str, int]]]:
    """Where the counts come from, and the counts."""
    from flowedge.runtime.checkpoint import checkpoints_in, read_checkpoint  # noqa: PLC0415

    if path.is_dir():
        found = checkpoints_in(path)
        if not found:
            raise RunError(
                f"`{path}` holds no checkpoint; a run that came to its end tells its ledger with `--report`"
            )
        path = found[-1][1]
    if path.suffix == ".flowstate":
        saved = read_checkpoint(path, key)
        return f"{path}: checkpoint {saved.epoch}", saved.report["streams"]
    try:
        told = json.loads(path.read_text("utf-8"))
        streams = told["streams"]
        counts = {name: Counts(**one).as_dict() for name, one in streams.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise RunError(f"`{path}` is neither a report nor a checkpoint") from None
    return f"{path}: the whole run" if told["is_complete"] else f"{path}: a run cut short", counts


def _checkpoint(path: Path, key: str | None) -> str:
    """Which run it belongs to, how far its sources and its outputs are."""
    from flowedge.runtime.checkpoint import read_checkpoint  # noqa: PLC0415
    from flowedge.runtime.keys import SigningKey  # noqa: PLC0415

    saved = read_checkpoint(path, None if key is None else SigningKey.of(key).checkpoint_key())
    lines = [
        f"{path}: checkpoint {saved.epoch} of the pipeline {saved.pipeline[:12]}, made by FlowEdge {saved.engine}"
        + (", all rows are in complete files" if saved.is_finished else "")
    ]
    for name, source in saved.sources.items():
        rows = saved.report["sources"][name]["rows_in"]
        lines.append(
            f"  source {name}: {rows:,} rows read{', to its end' if source['done'] else ''}"
        )
    for name, output in saved.outputs.items():
        counts = saved.report["sinks"].get(name)
        told = "" if counts is None else f" {counts['rows']:,} rows,"
        shown = output["committed"] + len(output["ready"])
        lines.append(f"  output {name}:{told} {shown:,} file{'s' * (shown != 1)} complete")
    lines.append("`flowedge inspect --ledger` shows what became of the rows of each stage")
    return "\n".join(lines)


def _source(connector: str, path: Path, rows: int) -> str:
    """What a source sees in a file: every row is read, few are kept."""
    from flowedge.sources.catalog import get  # noqa: PLC0415

    found = get(connector)
    assert found is not None, connector
    source = found(str(path.with_suffix("") if connector == "wfdb" else path))
    schema = source.schema()
    count, first = 0, None
    for batch, _ in source.batches():
        count += batch.num_rows
        if first is None:
            first = pa.Table.from_batches([batch]).slice(0, rows)
    if schema is None:
        schema = first.schema if first is not None else pa.schema([])
    told = _table(path, schema, count, first)
    if source.rate_hz is not None:
        head, *rest = told.split("\n")
        told = "\n".join([f"{head} at {source.rate_hz:g} Hz", *rest])
    return told


def _table(path: Path, schema: pa.Schema, count: int, first: pa.Table | None) -> str:
    lines = [f"{path}: {count:,} rows"]
    if schema.names == REJECTED.names:
        lines = [f"{path}: {count:,} rejected rows", *_by_reason(_reasons(path))]
    width = max((len(n) for n in schema.names), default=1)
    for field in schema:
        unit = (field.metadata or {}).get(UNIT, b"").decode()
        lines.append(f"  {field.name:{width}}  {field.type}{f' [{unit}]' if unit else ''}")
    for key, value in (schema.metadata or {}).items():
        if key.startswith(b"flowedge."):
            lines.append(f"  {key.decode()} = {value.decode(errors='replace')[:100]}")
    if first is not None and first.num_rows:
        lines.append("")
        lines += _rows(first)
    return "\n".join(lines)


def _rows(table: pa.Table) -> list[str]:
    names = table.column_names
    cells = [
        [_cell(v.as_py() if not pa.types.is_timestamp(v.type) else v) for v in table[n]]
        for n in names
    ]
    widths = [
        max(len(n), *(len(c) for c in column)) for n, column in zip(names, cells, strict=True)
    ]
    out = ["  ".join(n.ljust(w) for n, w in zip(names, widths, strict=True)).rstrip()]
    rows = zip(*cells, strict=True)
    return out + [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        shown = ", ".join(_cell(v) for v in value[:4])
        return f"[{shown}{', …' if len(value) > 4 else ''}]"
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _reasons(path: Path) -> "Counter[str]":
    """Reasons of a quarantine file that is a table, counted batch by batch."""
    from flowedge.runtime.quarantine import KINDS  # noqa: PLC0415
    from flowedge.sources.catalog import get  # noqa: PLC0415

    found = get(KINDS.get(path.suffix, "arrow"))
    assert found is not None, path
    counts: Counter[str] = Counter()
    for batch, _ in found(str(path)).batches(["reason"]):
        counts.update(_kind_of(str(reason)) for reason in batch.column(0).to_pylist())
    return counts


def _kind_of(reason: str) -> str:
    """A reason without the value at hand, so that like ones are counted together."""
    for pattern, said in _LIKE:
        reason = re.sub(pattern, said, reason)
    return reason


_LIKE = (
    (r"^(`[^`]*`) is .*, outside ", r"\1 outside "),
    (r"which `.*` (of `.*` )?does not fit$", r"which what came does not fit"),
    (r"^`.*` is no time$", "no time"),
)


def _by_reason(reasons: "Counter[str]") -> list[str]:
    """How many rows for each reason, the most frequent first."""
    return [f"  {count:8,}  {reason}" for reason, count in reasons.most_common(20)]


def _quarantine(path: Path, rows: int) -> str:
    import msgpack  # noqa: PLC0415

    found: list[dict[str, object]] = []
    reasons: Counter[str] = Counter()
    try:
        with path.open("rb") as file:
            for row in msgpack.Unpacker(file, max_buffer_size=2**26):
                if not isinstance(row, dict):
                    raise RunError(
                        f"`{path}` is neither Arrow, Parquet, a model, a checkpoint nor a quarantine file"
                    )
                reasons[_kind_of(str(row.get("reason")))] += 1
                if len(found) < rows:
                    found.append(row)
    except (ValueError, msgpack.UnpackException):
        raise RunError(
            f"`{path}` is neither Arrow, Parquet, a model, a checkpoint nor a quarantine file"
        ) from None
    if not reasons:
        raise RunError(f"`{path}` is empty")
    lines = [f"{path}: {reasons.total()} rejected rows", *_by_reason(reasons)]
    lines += [
        f"  {r.get('file')}:{r.get('row')}: {r.get('reason')}: {r.get('text')}"
        for r in found[:rows]
    ]
    return "\n".join(lines)
