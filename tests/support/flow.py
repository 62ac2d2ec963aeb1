"""`flow`: a chain of stages over a few values, run by the engine itself; for examples and tests."""

from fractions import Fraction

import pyarrow as pa

from flowedge.graph.catalog import PlainCatalog
from flowedge.runtime.plan import compile_flow
from flowedge.types.connectors import ConnectorInfo

CATALOG = PlainCatalog(
    sources={
        "given": ConnectorInfo("given", "source", needs_address=False, describes_itself=False, writes_files=False)
    },
    sinks={"expected": ConnectorInfo("expected", "sink", needs_address=False, writes_files=False)},
)  # fmt: skip


def flow(stages, *, rate=None, time=None, of="s", branch=None, **columns):
    """Run stages over a stream `s` and give back its column ``y``, or ``x`` if there is no ``y``.

    Parameters
    ----------
    stages : what stands behind ``s |``; a bare ``aggregate`` folds all rows
    rate : makes a signal of it, for example ``"2 Hz"``; else rows a second apart
    time : seconds of the rows instead, from 1970
    of : the streams that stand before the first ``|``
    branch : of a final ``split into``, the one to give back
    columns : lists of numbers, texts, conditions or lists; a dict of them is a further source of that name

    Returns
    -------
    list
        floats rounded to three digits, a missing one as ``nan``
    """
    others = {name: v for name, v in columns.items() if isinstance(v, dict)}
    mine = {name: v for name, v in columns.items() if name not in others}
    texts, tables = [], {}
    for name, given in {"s": mine, **others}.items():
        text, table = _source(
            name, dict(given), rate if name == "s" else None, time if name == "s" else None
        )
        texts.append(text)
        tables[name] = table
    count = tables["s"].num_rows
    if stages.startswith("aggregate"):
        stages = f"window {max(count, 1)} samples | {stages}"
    if branch is None:
        texts += [f"stream made = {of} | {stages}", "sink made to expected()"]
    else:
        texts += [f"stream made = {of} | {stages}", f"sink made.{branch} to expected()"]
    plan = compile_flow(text="\n".join(texts), catalog=CATALOG)
    (found,) = plan.run(tables).values()
    return [_shown(v) for v in found["y" if "y" in found.column_names else "x"].to_pylist()]


def _source(name, columns, rate, time):
    """The statement that declares a source, and its rows."""
    time = columns.pop("time", time)
    count = max((len(v) for v in columns.values()), default=len(time or []))
    step = 1 if rate is None else 1 / Fraction(rate.removesuffix(" Hz"))
    ns = [round(k * step * 10**9) if time is None else round(time[k] * 10**9) for k in range(count)]
    kinds = {n: _kind(v) for n, v in columns.items()}
    schema = ", ".join(["time", *(f"{n}: {kind}" for n, kind in kinds.items())])
    at = "" if rate is None else f" at {rate}"
    arrays = {n: pa.array(v, _arrow(kinds[n])) for n, v in columns.items()}
    table = pa.table({"time": pa.array(ns, pa.int64()).cast(pa.timestamp("ns", "UTC")), **arrays})
    return f"source {name} ({schema}){at} from given() time time", table


def _kind(values):
    first = next((v for v in values if v is not None), 0.0)
    if isinstance(first, list):
        return f"f64<{len(first)}>"
    return "bool" if isinstance(first, bool) else "string" if isinstance(first, str) else "f64"


def _arrow(kind):
    if kind.startswith("f64<"):
        return pa.list_(pa.float64(), int(kind[4:-1]))
    return {"f64": pa.float64(), "bool": pa.bool_(), "string": pa.string()}[kind]


def _shown(value):
    if value is None:
        return float("nan")
    if isinstance(value, list):
        return [_shown(v) for v in value]
    return round(value, 3) + 0.0 if isinstance(value, float) else value
