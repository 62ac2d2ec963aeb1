"""The stages of random pipelines, by kind and word: each draws its arguments from what the stream has."""

from support.simulation import network
from support.simulation.expressions import CLASSES, SPANS

MODEL = f'model net = torch("{network.PATH.name}") input (v, w) output softmax ["x", "y"]'


def parts_of(kind, name):
    """Which way of drawing serves an operator; None: none does, and it never takes part."""
    if kind in ("function", "filter", "aggregate"):
        return "by discovery"
    if kind == "threshold":
        return "argument"
    return STAGES.get((kind, name))


def _where(d, base):
    return f"where {d.condition()}"


def _derive(d, base):
    names = d.random.sample(["x", "y", "v", "w"], d.random.randint(1, 3))
    made = [f"{n} = {d.condition() if d.random.random() < 0.2 else d.number()}" for n in names]
    return "derive " + ", ".join(made)


def _select(d, base):
    columns = [c.name for c in d.type.columns]
    kept = d.random.sample(columns, min(len(columns), 3))
    return "select " + ", ".join([*kept, f"z = {d.number()}"])


def _filter(d, base):
    names = [n for (k, n), c in CLASSES.items() if k == "function" and c.kind == "filter"]
    cls = CLASSES["function", d.random.choice(names)]
    columns = d.numbers()
    if not columns:
        return None
    d.words.add(cls.name)
    floats = [c.name for c in d.type.columns if c.type.is_float and not c.type.shape] or columns
    return f"filter {cls.name}({', '.join(d.arguments(cls))}) on {d.random.choice(floats)}"


def _aggregates(d):
    made = [f"{d.aggregate()} as q{k}" for k in range(d.random.randint(1, 4))]
    return "aggregate " + ", ".join(made)


def _window(d, base):
    rng = d.random
    way = rng.random()
    if way < 0.5:
        size = rng.choice(["1 s", "2 s", "5 s"])
        shape = f"window {size}" + rng.choice(["", "", f" every {rng.choice(['0.5 s', '1 s'])}"])
    elif way < 0.6:
        shape = 'window 1 h in "Europe/Brussels"'
    else:
        shape = f"window {rng.choice([4, 8, 16])} samples" + rng.choice(["", " every 2 samples"])
    middle = ""
    if rng.random() < 0.2 and d.numbers():
        column = rng.choice(d.numbers())
        middle = f" | derive {column} = {column} - mean({column})"
    return f"{shape}{middle} | {_aggregates(d)}"


def _unnest(d, base):
    rng, columns = d.random, d.numbers()
    if not columns:
        return None
    if rng.random() < 0.2:
        return f"derive z = [{rng.choice(columns)}, {rng.choice(columns)}] | unnest z at 20 Hz"
    taken = sorted(rng.sample(columns, min(len(columns), rng.choice([1, 1, 2]))))
    names = ", ".join(taken)
    window = rng.choice(["4 samples", "6 samples every 3 samples", "3 samples every 5 samples"])
    middle = rng.choice(["", "", f" | derive {taken[0]} = {taken[0]} - mean({taken[0]})", " | where cumsum(1) % 3 != 1"])  # fmt: skip
    at = f" at {d.rate:g} Hz" if d.type.shape == "signal" and rng.random() < 0.3 else ""
    return f"window {window} | select {names}{middle} | unnest {names}{at}"


def _resample(d, base):
    way = d.random.choice(["", " nearest", " hold", " linear"])
    return (
        f"resample {d.random.choice(['2 Hz', '10 Hz', '1 s'])}{way} up to {d.random.choice(SPANS)}"
    )


def _gap(d, base):
    return f"split gap {d.random.choice(['0.4 s', '1 s'])}{_up_to(d)} | {_aggregates(d)}"


def _up_to(d):
    return d.random.choice(["", f" up to {d.random.choice(['2 s', '6 s'])}"])


def _on(d, base):
    columns = [c.name for c in d.type.columns if not c.type.shape and not c.type.is_float]
    value = d.random.choice(columns) if columns else d.condition()
    return f"split on {value}{_up_to(d)} | {_aggregates(d)}"


def _while(d, base):
    return f"split while {d.condition()}{_up_to(d)} | {_aggregates(d)}"


def _into(d, base):
    return f"split into one when {d.condition()}, rest otherwise", d.random.choice(
        [".one", ".rest"]
    )


def _other(d, base):
    return d.random.choice([s for s in sorted(d.streams) if s != base] or [base])


def _around(d, base):
    around = d.random.choice(["-1 s to 1 s", "0 s to 2 s", "-0.5 s to 0.5 s"])
    return f"split at {_other(d, base)} from {around} | {_aggregates(d)}"


def _next(d, base):
    return f"split at {_other(d, base)} to next{_up_to(d)} | {_aggregates(d)}"


def _join(d, base):
    how = d.random.choice(
        ["latest", "within 1 s", "within 4 s", "within 2 s nearest", "within 2 s linear"]
    )
    return f"join {_other(d, base)} {how}"


def _union(d, base):
    return f"= {base}, {_other(d, base)}"


def _key(d, base):
    texts = [
        c.name for c in d.type.columns if c.type.store in ("string", "i64") and not c.type.shape
    ]
    return f"key {d.random.choice([*texts, 'none'])}"


def _expand(d, base):
    return _compress(d, base) + " | expand"


def _compress(d, base, name=""):
    name = name or d.random.choice(["deadband", "swing"])
    cls = CLASSES["compress", name]
    on = f" on {d.random.choice(d.numbers())}" if d.numbers() and name != "decimate" else ""
    return f"compress {name}({', '.join(d.arguments(cls))}){on}"


def _peaks(d, base):
    cls = CLASSES["detect", "peaks"]
    return f"detect peaks({', '.join([d.number(1), *d.arguments(cls)])})"


def _edges(d, base):
    more = d.random.choice(["", ', direction="rise"', ', direction="fall"', ", apart=1 s"])
    return f"detect edges({d.condition()}{more})"


def _rules(d, base):
    span = d.random.choice(["", " for 1 s"])
    return f'classify rules {{ "hot" when {d.condition()}{span} "cold" when {d.condition()} otherwise "ok" }}'


def _with(d, base):
    if not {"v", "w"} <= {c.name for c in d.type.columns if c.type.is_float and not c.type.shape}:
        return None
    hop = d.random.choice(["", " every 1 sample"])
    return f"window {network.FRAME} samples{hop} | classify with net"


STAGES = {
    ("stage", "where"): _where, ("stage", "derive"): _derive, ("stage", "select"): _select, ("stage", "filter"): _filter,
    ("stage", "window"): _window, ("stage", "aggregate"): _window, ("stage", "unnest"): _unnest,
    ("stage", "resample"): _resample, ("stage", "split gap"): _gap, ("stage", "split on"): _on,
    ("stage", "split while"): _while, ("stage", "split into"): _into, ("stage", "split at"): _around,
    ("stage", "split next"): _next, ("stage", "join"): _join, ("stage", "union"): _union, ("stage", "key"): _key,
    ("stage", "expand"): _expand, ("detect", "peaks"): _peaks, ("detect", "edges"): _edges, ("classify", "rules"): _rules,
    ("classify", "with"): _with,
    **{("compress", n): (lambda d, base, n=n: _compress(d, base, n)) for (k, n) in CLASSES if k == "compress"},
}  # fmt: skip
