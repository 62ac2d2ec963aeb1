"""Random pipelines, drawn stage by stage from what the registry of operators holds.

The checker judges each stage as it is drawn and says what the stream then is; a stage that it refuses is
drawn again. So types are known without being tracked here, and a new operator takes part by existing.
"""

import random
from dataclasses import dataclass, field

from support.operators import choices
from support.simulation.broker import NAME

from flowedge.graph import nodes as g
from flowedge.graph.catalog import PlainCatalog
from flowedge.graph.check import check
from flowedge.lang.diagnostics import FlowError
from flowedge.operators import discover
from flowedge.operators.contract import REQUIRED, Context, Function, Refused
from flowedge.types.connectors import ConnectorInfo, Limit, Option, Signature
from flowedge.types.schema import BOOL, F64, TIME

_CATALOG = PlainCatalog(
    sources={
        NAME: ConnectorInfo(NAME, "source", describes_itself=False, writes_files=False),
    },
    sinks={
        "arrow": ConnectorInfo("arrow", "sink"),
        "parquet": ConnectorInfo(
            "parquet", "sink", Signature((Option("roll", "limit", Limit(size_bytes=1), ""),))
        ),
    },
)
_SPANS = ("0.3 s", "1 s", "2.5 s", "7 s")
_FIELDS = "v: f64, w: f64, n: i64, c: bool, t: string"


@dataclass(frozen=True)
class Origin:
    """A source: what its rows look like."""

    name: str
    keyed: bool
    rate: float | None


@dataclass
class Pipeline:
    """A pipeline, and how it was found.

    Attributes
    ----------
    drawn, refused : stages that were drawn, and those of them that the checker would not have
    power : a loss of power may take no row
    used : the words of the operators in it
    """

    number: int
    origins: list[Origin] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    drawn: int = 0
    refused: int = 0
    power: bool = True
    used: set[str] = field(default_factory=set)

    @property
    def text(self):
        return "\n".join(self.lines) + "\n"


def pipeline(number):
    """The pipeline of this number, always the same."""
    return _Drafter(number).draw()


def parts_of(kind, name):
    """Which way of drawing serves an operator; None: none does, and it never takes part."""
    if kind in ("function", "filter", "aggregate"):
        return "by discovery"
    if kind == "threshold":
        return "argument"
    return _STAGES.get((kind, name))


class _Drafter:
    def __init__(self, number):
        self.random = random.Random(f"pipeline {number}")
        self.out = Pipeline(number)
        self.streams = {}
        self.words = set()

    def draw(self):
        rng = self.random
        for name in "abc"[: rng.choice([1, 1, 1, 2, 2, 3])]:
            self._source(name)
        wanted, last = rng.choice([1, 2, 2, 3, 3, 4]), "a"
        made, tries = [], 0
        while len(made) < wanted and tries < 40:
            tries += 1
            base = last if rng.random() < 0.75 else rng.choice(sorted(self.streams))
            new = self._stage(f"s{len(made)}", base)
            if new is not None:
                made.append(new)
                last = new
        self._sinks(made)
        return self.out

    def _try(self, *lines):
        """Whether the checker takes these lines too; then they stay."""
        self.out.drawn += 1
        try:
            graph = check(
                "\n".join([*self.out.lines, *lines]), "p.flow", params={}, catalog=_CATALOG,
                imports=lambda path: path,
            )  # fmt: skip
        except FlowError:
            self.out.refused += 1
            return None
        return graph

    # ---- sources

    def _source(self, name):
        rng = self.random
        keyed, rate = rng.random() < 0.75, rng.choice([None, 5.0, 10.0, 20.0])
        clauses = []
        if rate and rng.random() < 0.6:
            clauses.append(
                f"gaps {rng.choice(['reset', 'hold', 'linear', 'nan'])} up to {rng.choice(_SPANS)}"
            )
            if clauses[-1].startswith("gaps reset"):
                clauses[-1] = "gaps reset"
        if rate:
            clauses.append(f"jitter {rng.choice([20, 25, 40])} percent")
        late = rng.random()
        if late < 0.35:
            clauses.append(f"late {rng.choice(['0.2 s', '1 s', '4 s'])}")
        elif late < 0.45 and keyed:
            clauses.append("late 1 s per key")
        elif late < 0.6:
            clauses.append("order time")
        if rng.random() < 0.5:
            clauses.append(f"duplicates {rng.choice(['keep', 'first', 'last'])}")
        if rng.random() < 0.3:
            clauses.append(f"on error {rng.choice(['skip', 'quarantine'])}")
            if clauses[-1].endswith("quarantine"):
                clauses[-1] += f' "out/bad_{name}.arrow"'
        self.sides = getattr(self, "sides", [])
        if rng.random() < 0.3:
            clauses.append(f"on silence {rng.choice(['1 s', '3 s'])}")
            side = f"{name}.silent"
            if keyed and rng.random() < 0.5:
                clauses.append("expire key after 5 s")
        else:
            side = f"{name}.late"
        if keyed and rng.random() < 0.2:
            clauses.append(f"max keys {rng.choice([2, 100])}")
        key = "k: key string, " if keyed else ""
        at = f" at {rate:g} Hz" if rate else ""
        for _ in range(len(clauses) + 1):
            line = f'source {name} (time: time, {key}{_FIELDS}){at} from {NAME}("{name}") time time'
            line += "".join("\n    " + c for c in clauses)
            if self._try(line, f'sink {name} to arrow("x") as x_{name}') is not None:
                break
            clauses.pop(rng.randrange(len(clauses)))
        self.out.lines.append(line)
        self.out.origins.append(Origin(name, keyed, rate))
        graph = self._try(f'sink {name} to arrow("x") as x_{name}')
        self.streams[name] = _type(graph, f"x_{name}")
        if rng.random() < 0.4:
            sink = f'sink {side} to arrow("out/{name}_side.arrow") as {name}_side'
            if self._try(f'sink {name} to arrow("x") as x_{name}', sink) is not None:
                self.out.lines.append(sink)

    # ---- stages

    def _stage(self, name, base):
        rng = self.random
        out = self.streams[base]
        (_, word), draw = rng.choice(sorted(_STAGES.items(), key=lambda item: item[0]))
        self.words = {word}
        self.type = out
        self.rate = out.rate_hz
        drawn = draw(self, base)
        if drawn is None:
            return None
        chain, branch = drawn if isinstance(drawn, tuple) else (drawn, "")
        line = f"stream {name} = {chain if chain.startswith('=') else base + ' | ' + chain}"
        line = line.replace("= =", "=")
        shown = name + branch
        graph = self._try(line, f'sink {shown} to arrow("x") as x_')
        if graph is None:
            return None
        self.out.lines.append(line)
        self.streams[shown] = _type(graph, "x_")
        self.out.used |= self.words
        return shown

    def _sinks(self, made):
        rng = self.random
        ends = made[-1:] or ["a"]
        ends += [s for s in made[:-1] if rng.random() < 0.4]
        for k, stream in enumerate(ends):
            to = rng.choice(
                [
                    'arrow("out/{n}.arrow")',
                    'parquet("out/{n}.parquet")',
                    'parquet("out/{n}", roll=2 [kB])',
                ]
            )
            more = ""
            if rng.random() < 0.15:
                more = rng.choice([" durability os", " durability interval 3 s"])
                self.out.power = False
            self.out.lines.append(f"sink {stream} to {to.replace('{n}', f'o{k}')}{more} as o{k}")

    # ---- expressions

    def numbers(self):
        return [c.name for c in self.type.columns if c.type.is_number and not c.type.shape]

    def number(self, depth=2):
        rng, columns = self.random, self.numbers()
        if not columns or rng.random() < 0.05:
            return rng.choice(["0.5", "2", "1e6"])
        if depth == 0 or rng.random() < 0.3:
            return rng.choice(columns)
        way = rng.random()
        if way < 0.25:
            return f"({self.number(depth - 1)} {rng.choice('+-*/%')} {self.number(depth - 1)})"
        if way < 0.32:
            return f"if({self.condition(depth - 1)}, {self.number(depth - 1)}, {self.number(depth - 1)})"
        if way < 0.5:
            extent = rng.choice([*_SPANS, "4 samples", "9 samples"])
            return f"{self.aggregate(depth - 1)} over {extent}"
        if way < 0.57:
            return f"{rng.choice(['lead', 'lag'])}({rng.choice(columns)}, {rng.choice([1, 2, 5])})"
        if way < 0.63:
            return f"prev({rng.choice(columns)}, 0)"
        return self.call(F64, depth - 1)

    def condition(self, depth=1):
        rng = self.random
        flags = [c.name for c in self.type.columns if c.type.store == "bool" and not c.type.shape]
        way = rng.random()
        if depth == 0 or way < 0.45:
            if flags and rng.random() < 0.3:
                return rng.choice(flags)
            return f"{self.number(0)} {rng.choice(['<', '>', '<=', '>='])} {rng.choice(['0', '0.5', '-1'])}"
        if way < 0.65:
            return f"({self.condition(depth - 1)} {rng.choice(['and', 'or'])} {self.condition(depth - 1)})"
        if way < 0.8:
            return f"not {self.condition(depth - 1)}"
        if way < 0.87:
            names = [c.name for c in self.type.columns if not c.type.shape] or ["time"]
            return f"missing({rng.choice(names)})"
        return self.call(BOOL, depth - 1)

    def call(self, wanted, depth):
        """A function of the registry that gives such a value."""
        name, takes = self.random.choice(_FUNCTIONS[wanted.store])
        cls = _CLASSES["function", name]
        least, most = cls.inputs if isinstance(cls.inputs, tuple) else (cls.inputs, cls.inputs)
        values = [
            {"f64": self.number, "bool": self.condition, "time": lambda _: "time"}[takes](depth)
            for _ in range(self.random.randint(least, most))
        ]
        self.words.add(name)
        return f"{name}({', '.join([*values, *self.arguments(cls)])})"

    def aggregate(self, depth=1):
        name, cls = self.random.choice(_AGGREGATES)
        least, most = cls.inputs if isinstance(cls.inputs, tuple) else (cls.inputs, cls.inputs)
        values = [self.number(min(depth, 1)) for _ in range(self.random.randint(least, most))]
        self.words.add(name)
        return f"{name}({', '.join([*values, *self.arguments(cls)])})"

    def arguments(self, cls):
        return [
            f"{p.name}={shown}"
            for p in cls.parameters
            if p.default is REQUIRED or self.random.random() < 0.4
            if (shown := self._argument(p)) is not None
        ]

    def _argument(self, parameter):
        rng, rate = self.random, self.rate or 10.0
        if parameter.name == "at_most":
            return "6 s"
        match parameter.kind:
            case "duration":
                return rng.choice(_SPANS)
            case "frequency":
                return f"{rate * rng.choice([0.05, 0.1, 0.2]):g} Hz"
            case "band":
                return f"{rate * 0.05:g} Hz .. {rate * rng.choice([0.2, 0.3]):g} Hz"
            case "extent":
                return rng.choice(["3 samples", "5 samples", "7 samples"])
            case "same" | "difference":
                return rng.choice(["0.25", "0.5", "2"])
            case "number":
                return rng.choice(["0.5", "0.75"]) if parameter.default is not REQUIRED else "2"
            case "integer":
                return rng.choice(["1", "2", "3"]) if parameter.name != "ddof" else rng.choice("01")
            case "flag":
                return rng.choice(["true", "false"])
            case "numbers":
                return rng.choice(["[0.25, 0.5, 0.25]", "[1, -1]"])
            case "zone":
                return rng.choice(['"Europe/Brussels"', '"UTC"'])
            case "threshold":
                return rng.choice(["0.5", "adaptive(2 s)"])
        return None


def _type(graph, sink):
    by_id = {n.id: n for n in graph.nodes}
    (node,) = [n for n in graph.nodes if isinstance(n, g.Sink) and n.name == sink]
    return by_id[node.inputs[0]].out


def _functions():
    """For each kind of result the functions that give it: (name, what they take)."""
    found = {"f64": [], "bool": []}
    context = Context(rate_hz=10.0)
    for (kind, name), cls in _CLASSES.items():
        if kind != "function" or not issubclass(cls, Function):
            continue
        for takes in (F64, BOOL, TIME):
            count = cls.inputs[0] if isinstance(cls.inputs, tuple) else cls.inputs
            try:
                given = {p.name: v for p, v in _samples(cls)}
                out = cls(**given).out((takes,) * count, context)
            except (Refused, TypeError, AttributeError):
                continue
            key = "bool" if out.store == "bool" else "f64" if out.is_number else None
            if key is not None:
                found[key].append((name, takes.store))
                break
    return found


def _samples(cls):
    """A value for each parameter of a class, defaults where there are any."""
    given = choices(cls.parameters)[0]
    return [(p, given.get(p.name, p.default)) for p in cls.parameters]


# ---- the stages, by kind and word


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
    names = [n for (k, n), c in _CLASSES.items() if k == "function" and c.kind == "filter"]
    cls = _CLASSES["function", d.random.choice(names)]
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
    if not d.numbers():
        return None
    column = d.random.choice(d.numbers())
    size, hop = d.random.choice([(4, ""), (6, " every 3 samples")])
    at = f" at {d.rate:g} Hz" if d.rate and d.random.random() < 0.5 else ""
    return f"window {size} samples{hop} | select {column} | unnest {column}{at}"


def _resample(d, base):
    way = d.random.choice(["", " nearest", " hold", " linear"])
    return (
        f"resample {d.random.choice(['2 Hz', '10 Hz', '1 s'])}{way} up to {d.random.choice(_SPANS)}"
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
    cls = _CLASSES["compress", name]
    on = f" on {d.random.choice(d.numbers())}" if d.numbers() and name != "decimate" else ""
    return f"compress {name}({', '.join(d.arguments(cls))}){on}"


def _peaks(d, base):
    cls = _CLASSES["detect", "peaks"]
    return f"detect peaks({', '.join([d.number(1), *d.arguments(cls)])})"


def _edges(d, base):
    more = d.random.choice(["", ', direction="rise"', ', direction="fall"', ", apart=1 s"])
    return f"detect edges({d.condition()}{more})"


def _rules(d, base):
    span = d.random.choice(["", " for 1 s"])
    return f'classify rules {{ "hot" when {d.condition()}{span} "cold" when {d.condition()} otherwise "ok" }}'


_CLASSES = discover()
_FUNCTIONS = _functions()
_AGGREGATES = [(n, c) for (k, n), c in _CLASSES.items() if k == "aggregate"]
_STAGES = {
    ("stage", "where"): _where, ("stage", "derive"): _derive, ("stage", "select"): _select, ("stage", "filter"): _filter,
    ("stage", "window"): _window, ("stage", "aggregate"): _window, ("stage", "unnest"): _unnest,
    ("stage", "resample"): _resample, ("stage", "split gap"): _gap, ("stage", "split on"): _on,
    ("stage", "split while"): _while, ("stage", "split into"): _into, ("stage", "split at"): _around,
    ("stage", "split next"): _next, ("stage", "join"): _join, ("stage", "union"): _union, ("stage", "key"): _key,
    ("stage", "expand"): _expand, ("detect", "peaks"): _peaks, ("detect", "edges"): _edges, ("classify", "rules"): _rules,
    **{("compress", n): (lambda d, base, n=n: _compress(d, base, n)) for (k, n) in _CLASSES if k == "compress"},
}  # fmt: skip
