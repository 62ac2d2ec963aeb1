"""Random pipelines, drawn stage by stage from what the registry of operators holds.

The checker judges each stage as it is drawn and says what the stream then is; a stage that it refuses is
drawn again. So types are known without being tracked here, and a new operator takes part by existing.
"""

import random
from dataclasses import dataclass, field

from support.simulation import network
from support.simulation.broker import BROKER, RECORDING
from support.simulation.expressions import SPANS, Expressions
from support.simulation.stages import MODEL, STAGES

from flowedge.graph import nodes as g
from flowedge.graph.catalog import PlainCatalog
from flowedge.graph.check import check
from flowedge.lang.diagnostics import FlowError
from flowedge.types.connectors import ConnectorInfo, Limit, Option, Signature

_CATALOG = PlainCatalog(
    models={network.PATH.name: network.SHAPE},
    sources={
        name: ConnectorInfo(name, "source", describes_itself=False, writes_files=False)
        for name in (BROKER, RECORDING)
    },
    sinks={
        "arrow": ConnectorInfo("arrow", "sink"),
        "parquet": ConnectorInfo(
            "parquet", "sink", Signature((Option("roll", "limit", Limit(size_bytes=1), ""),))
        ),
    },
)
_VALID = (
    "v in -3 .. 4 else reject", "v else reject", "v else null", "w in -1.5 .. inf else null", "w in -1 .. 1 else clamp",
    "n in -2 .. 3 else reject", "n in -2 .. 2 else clamp", "time else reject",
)  # fmt: skip
_FIELDS = "v: f64, w: f64, n: i64, c: bool, t: string"


@dataclass(frozen=True)
class Origin:
    """A source: what its rows look like.

    Attributes
    ----------
    is_recorded : it reads files, not a log of the broker
    on_error : what becomes of rows that cannot be read
    """

    name: str
    keyed: bool
    rate: float | None
    is_recorded: bool
    on_error: str


@dataclass
class Pipeline:
    """A pipeline, and how it was found.

    Attributes
    ----------
    drawn, refused : stages that were drawn, and those of them that the checker would not have
    power : a loss of power may take no row
    has_model : it asks the network of `support.simulation.network`
    used : the words of the operators in it
    """

    number: int
    origins: list[Origin] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    drawn: int = 0
    refused: int = 0
    power: bool = True
    has_model: bool = False
    used: set[str] = field(default_factory=set)

    @property
    def text(self):
        return "\n".join(self.lines) + "\n"


def pipeline(number):
    """The pipeline of this number, always the same."""
    return _Drafter(number).draw()


class _Drafter(Expressions):
    def __init__(self, number):
        super().__init__(random.Random(f"pipeline {number}"))
        self.out = Pipeline(number)
        self.streams = {}

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
                f"gaps {rng.choice(['reset', 'hold', 'linear', 'nan'])} up to {rng.choice(SPANS)}"
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
        if rng.random() < 0.5:
            kind = rng.choice(["arrow", "jsonl", "csv", "parquet", "msgpack"])
            kept = f'quarantine "out/bad_{name}.{kind}"'
            clauses.append(f"on error {rng.choice(['skip', kept, kept, kept])}")
        if rng.random() < 0.4:
            clauses.append("valid " + ", ".join(rng.sample(_VALID, rng.choice([1, 1, 2]))))
        if rng.random() < 0.3:
            clauses.append(f"on silence {rng.choice(['1 s', '3 s'])}")
            side = f"{name}.silent"
            if keyed and rng.random() < 0.5:
                clauses.append("expire key after 5 s")
        else:
            side = f"{name}.late"
        if keyed and rng.random() < 0.3:
            clauses.append(f"max keys {rng.choice([1, 2, 100])}")
        key = "k: key string, " if keyed else ""
        at = f" at {rate:g} Hz" if rate else ""
        place = rng.choice([BROKER, BROKER, RECORDING])
        for _ in range(len(clauses) + 1):
            line = (
                f'source {name} (time: time, {key}{_FIELDS}){at} from {place}("{name}") time time'
            )
            line += "".join("\n    " + c for c in clauses)
            if self._try(line, f'sink {name} to arrow("x") as x_{name}') is not None:
                break
            clauses.pop(rng.randrange(len(clauses)))
        self.out.lines.append(line)
        policy = next((c.split()[2] for c in clauses if c.startswith("on error")), "stop")
        self.out.origins.append(Origin(name, keyed, rate, place == RECORDING, policy))
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
        (_, word), draw = rng.choice(sorted(STAGES.items(), key=lambda item: item[0]))
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
        lines = [line]
        if word == "with" and not self.out.has_model:
            lines = [MODEL, line]
        graph = self._try(*lines, f'sink {shown} to arrow("x") as x_')
        if graph is None:
            return None
        self.out.lines += lines
        self.out.has_model |= word == "with"
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


def _type(graph, sink):
    by_id = {n.id: n for n in graph.nodes}
    (node,) = [n for n in graph.nodes if isinstance(n, g.Sink) and n.name == sink]
    return by_id[node.inputs[0]].out
