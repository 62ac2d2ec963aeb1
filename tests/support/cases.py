"""Cases: pages of Markdown that say what the language means, and are run.

A sentence, a pipeline whose sources are `given()` and whose sinks go to `expected()`, and a table::

    A tumbling window closes when the watermark passes its end; the end of input closes the rest.
    ```flow
    source t (time, v: f64) from given()
    sink t | window 1 s | aggregate sum(v) as total to expected()
    ```
    | given | 0.0 s, 1 | 0.5 s, 2 | 1.2 s, 4 |
    | expected | 1.0 s, 3 | 2.0 s, 4 |

Lines of the table, of which any may be there more than once:

``given [SOURCE[/PARTITION]] [: column, …]``
    Rows in the order in which they arrive: the fields of the schema, or those named. ``mark 3 s`` between
    them says that none before 3 s will come, ``end`` that the source has ended.
``expected [SINK] [: column, …]``
    Rows in the order in which they leave: all columns, or those named.
``already [SINK] [: column, …]``
    Of these the rows that have left before the input ends: what the watermark alone has made final.
``ledger STAGE``
    Fates of the rows of a source or stage, each as ``late 2``; those not named are not looked at.
``refused``, ``warned``
    Codes of the diagnostics that `check` gives: all errors, or all warnings.
``stops``
    What the error says with which the run ends.

Times are ``1.5 s``, ``20 ms``, ``3 h``, `2024-03-31T00:00Z` or a sum of the two kinds; ``_`` is missing.

Nothing about arrival but the order inside a partition has a meaning. So each case is run many ways, which
must give the same: line by line, row by row in turn, backwards from the last line, in pairs with the session
written down and read back in between (and all texts forgotten that it need not know), and with every stage in a kernel of its own.
"""

import itertools
import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from support.flow import CATALOG

from flowedge.compile.program import NEVER, SourceSpec
from flowedge.lang.diagnostics import FlowError
from flowedge.lang.errors import FlowEdgeError
from flowedge.lang.parse import parse
from flowedge.lang.statements import Source
from flowedge.runtime.feeds import declared_schema
from flowedge.runtime.plan import compile_flow

_CASE = re.compile(
    r"(?P<says>(?:^(?!```|[|#\n]).*\n)+)\n*^```flow\n(?P<flow>[\s\S]*?)^```\n+(?P<table>(?:^\|.*\|[ ]*\n?)+)",
    re.MULTILINE,
)
_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}  # fmt: skip
_MARK = re.compile(r"mark (.+)")


@dataclass
class Line:
    """A line of the table under a pipeline."""

    word: str
    of: str
    columns: list[str] | None
    cells: list[str]


@dataclass
class Case:
    """One sentence with its pipeline and its table."""

    says: str
    flow: str
    line: int
    lines: list[Line] = field(default_factory=list)

    def all(self, word):
        """The lines that begin with a word."""
        return [x for x in self.lines if x.word == word]


def cases_of(path):
    """All cases of a page, as parameters of a test."""
    text = path.read_text("utf-8")
    blocks = text.count("```flow\n")
    found = []
    for m in _CASE.finditer(text):
        case = Case(" ".join(m["says"].split()), m["flow"], text.count("\n", 0, m.start("flow")))
        for row in m["table"].splitlines():
            head, *cells = (c.strip() for c in row.strip().strip("|").split("|"))
            found_head = re.fullmatch(r"(\w+)\s*([^:]*?)\s*(?::(.*))?", head)
            word, of, columns = found_head.groups()
            names = None if columns is None else [c.strip() for c in columns.split(",")]
            case.lines.append(Line(word, of.strip(), names, [c for c in cells if c]))
        found.append(pytest.param(case, id=f"{path.stem}:{case.line}"))
    assert len(found) == blocks, f"{path.name}: {blocks} pipelines, of which {len(found)} are cases"
    return found


# ---- cells


def time_of(text):
    """Nanoseconds since 1970 of a time as cases write it."""
    total = 0
    for part in text.split(" + "):
        m = re.fullmatch(r"(-?[\d.]+) *([a-z]+)", part.strip())
        if m and m[2] in _UNITS:
            total += round(float(m[1]) * _UNITS[m[2]])
            continue
        when = datetime.fromisoformat(part.strip())
        total += (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    return total


def _split(cell):
    """The values of a cell: commas inside brackets and quotes do not count."""
    return [v.strip() for v in re.findall(r"(?:\[.*?\]|\"[^\"]*\"|[^,])+", cell)]


def value_of(text, kind):
    """A value of an Arrow type."""
    if text == "_":
        return None
    if pa.types.is_timestamp(kind):
        return time_of(text)
    if pa.types.is_duration(kind):
        return time_of(text)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return {"true": True, "false": False}[text]
    if pa.types.is_integer(kind):
        return time_of(text) if re.search(r"\d [a-z]", text) else int(text)
    if pa.types.is_floating(kind):
        return float(text)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return bytes.fromhex(text)
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        return json.loads(text.replace("nan", "NaN").replace("_", "null"))
    return text.strip('"')


# ---- what comes in


def _events(case, program):
    """(source, partition, what) of each line, in order: a row as a dict, ("mark", ns), or ("end",)."""
    specs = {n.name: n for n in program.nodes if isinstance(n, SourceSpec)}
    declared = {
        str(s.name): [str(f.name) for f in s.columns or ()]
        for s in parse(case.flow, "case.flow").statements
        if isinstance(s, Source)
    }
    out = []
    for line in case.all("given"):
        name, _, partition = line.of.partition("/")
        name = name or next(iter(declared))
        if name not in specs:  # dead: nothing reads it
            continue
        schema = declared_schema(specs[name])
        events = []
        for cell in line.cells:
            if m := _MARK.fullmatch(cell):
                events.append((name, partition, ("mark", time_of(m[1]))))
            elif cell == "end":
                events.append((name, partition, ("end",)))
            else:
                names, values = line.columns or declared[name], _split(cell)
                assert len(names) == len(values), f"{cell}: {len(names)} columns"
                row = {
                    n: value_of(v, schema.field(n).type)
                    for n, v in zip(names, values, strict=True)
                    if n in schema.names
                }
                events.append((name, partition, row))
        out.append(events)
    return out, {n: declared_schema(s) for n, s in specs.items()}


def _batches(events, size):
    """Rows that follow each other in one partition put together, at most `size` of them."""
    out = []
    for name, partition, what in events:
        last = out[-1] if out else None
        if (
            isinstance(what, dict) and last and isinstance(last[2], list)
            and last[:2] == (name, partition) and len(last[2]) < size
        ):  # fmt: skip
            last[2].append(what)
        else:
            out.append((name, partition, [what] if isinstance(what, dict) else what))
    return out


def _ways(lines):
    """How the lines may arrive: (name, batches, whether to write the session down in between)."""
    rows = [_batches(line, 1) for line in lines]
    turns = [x for group in itertools.zip_longest(*rows) for x in group if x is not None]
    yield "line by line", [x for line in lines for x in _batches(line, 10**9)], False
    yield "row by row", turns, False
    yield "last line first", [x for line in reversed(rows) for x in line], False
    yield "in pairs, written down", [x for line in lines for x in _batches(line, 2)], True


# ---- the run


def _run(plan, schemas, batches, partitions, *, written):
    session = plan.open()
    found = {name: [] for name in session.schemas}

    def keep(out):
        for name, batch in out.items():
            batch.validate(full=True)
            found[name] += _rows(batch)

    for name, partition in partitions:
        keep(session.mark(name, NEVER, partition))
    for name, partition, what in batches:
        if isinstance(what, list):
            batch = pa.RecordBatch.from_pylist(what, schema=schemas[name])
            keep(session.push(name, batch, partition))
        elif what[0] == "mark":
            keep(session.mark(name, what[1], partition))
        else:
            keep(session.end(name, partition or None))
        if written:
            session = plan.restore(session.snapshot())
            session._shared.pool.slack = -1, 0  # nothing is kept but what the state holds
    early = {name: list(rows) for name, rows in found.items()}
    keep(session.finish())
    return found, session, early


def _rows(batch):
    columns = []
    for column in batch.columns:
        is_time = pa.types.is_timestamp(column.type) or pa.types.is_duration(column.type)
        columns.append((column.cast(pa.int64()) if is_time else column).to_pylist())
    return list(zip(*columns, strict=True))


def _same(a, b):
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) and b is None:
        return math.isnan(a)  # a missing float leaves as NaN
    if isinstance(a, float) and isinstance(b, float | int):
        return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)
    return a == b


def check(case):
    """Run a case in every way; assert all that its table says."""
    refused = case.all("refused")
    if refused:
        with pytest.raises(FlowError) as raised:
            compile_flow(text=case.flow, catalog=CATALOG)
        codes = [d.code for d in raised.value.diagnostics if d.severity == "error"]
        assert codes == refused[0].cells, f"{case.says}\n{raised.value}"
        return
    plan = compile_flow(text=case.flow, catalog=CATALOG)
    for line in case.all("warned"):
        codes = re.findall(r"warning\[(FE\d+)\]", plan.warnings)
        assert codes == line.cells, plan.warnings
    lines, schemas = _events(case, plan.program)
    partitions = list(dict.fromkeys((n, p) for line in lines for n, p, _ in line if p))
    stops = case.all("stops")
    truth = None
    for way, batches, written in _ways(lines):
        if stops:
            with pytest.raises(FlowEdgeError, match=re.escape(stops[0].cells[0])):
                _run(plan, schemas, batches, partitions, written=written)
            continue
        found, session, early = _run(plan, schemas, batches, partitions, written=written)
        _compare(case, session, {"expected": found, "already": early}, way)
        assert truth is None or repr(found) == repr(truth), f"{case.says}: {way} gives other bits"
        truth = found
    if stops:
        return
    apart = compile_flow(text=case.flow, catalog=CATALOG, fuse=False)
    found, _, _ = _run(apart, schemas, next(iter(_ways(lines)))[1], partitions, written=False)
    assert repr(found) == repr(truth), f"{case.says}: unfused"


def _compare(case, session, given, way):
    for line in [*case.all("expected"), *case.all("already")]:
        found = given[line.word]
        name = line.of or next(iter(found))
        schema = session.schemas[name]
        names = line.columns or schema.names
        assert set(names) <= set(schema.names), f"{case.says}: {schema.names}"
        places = [schema.names.index(n) for n in names]
        wanted = []
        for cell in line.cells:
            values = _split(cell)
            assert len(values) == len(names), f"{cell}: {names}"
            wanted.append([value_of(v, schema.field(n).type) for n, v in zip(names, values, strict=True)])  # fmt: skip
        got = [[row[k] for k in places] for row in found[name]]
        assert _same(got, wanted), f"{case.says} ({way})\n{names}\ngot    {got}\nwanted {wanted}"
    ledger = session.ledger()
    for line in case.all("ledger"):
        page = ledger[line.of]
        for cell in line.cells:
            fate, count = cell.rsplit(" ", 1)
            assert page.get(fate, 0) == int(count), f"{case.says} ({way})\n{line.of}: {page}"
