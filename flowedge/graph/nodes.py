"""The nodes of the dataflow graph: what each stage became, with all its parameters as numbers.

A node knows its inputs by id, the type of the stream it gives, and where in the text it came from.
Nodes are plain frozen data: passes replace them, the compiler reads them, nothing in them runs.
"""

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from flowedge.graph.expressions import Expr
from flowedge.types.schema import Stream

if TYPE_CHECKING:
    from flowedge.lang.span import Span

Policy = Literal["reset", "hold", "linear", "nan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Common to all: `id` is unique in the graph, `inputs` are ids, in the order of their place.

    Attributes
    ----------
    name : the stream, source or sink that the user would call it by; several stages of a stream
        share it, and `label` tells them apart in `explain`
    """

    id: int
    inputs: tuple[int, ...]
    out: Stream
    name: str
    label: str = ""
    span: "Span | None" = None


@dataclass(frozen=True, slots=True)
class RawColumn:
    """A column of a source: where it comes from, and the expression over the raw fields, if any."""

    name: str
    expr: Expr | None
    raw: str | None


@dataclass(frozen=True, slots=True)
class Valid:
    """Which values of a column (or of the time) are taken, and what becomes of the others.

    Attributes
    ----------
    policy : reject the row, make the value missing (null), or take the nearest that is valid (clamp)
    low, high : in the column's unit; None: as far as its type goes
    told : the range as messages tell it; empty where none was given
    """

    column: str
    policy: str
    low: float | None = None
    high: float | None = None
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Node):
    """Rows from a connector, put in order: section 2 of the language.

    Attributes
    ----------
    connector, address, options : as the connector takes them; a secret stays a reference
    raw : Arrow schema of what the connector gives, name -> `Type`
    time : expression over the raw fields (type time, or float/int seconds already as ns), None:
        counted from the rate and `start_ns`; text is parsed by `parse` = (format or "iso", zone)
    late_s, late_per_key : how long to wait for rows out of order
    predicate : comparisons (raw field, op, value) that hold together for every row that matters; a
        hint that may spare reading, in the field's own unit, times in ns
    gaps : what fills missing samples of a signal, and up to how long [s]
    """

    connector: str
    address: str
    options: dict[str, Any] = field(default_factory=dict)
    raw: tuple[tuple[str, Any], ...] = ()
    columns: tuple[RawColumn, ...] = ()
    keys: tuple[RawColumn, ...] = ()
    captures: tuple[str, ...] = ()
    time: Expr | None = None
    parse: tuple[str, str] | None = None
    always: bool = False
    start_ns: int = 0
    late_s: float = 0.0
    late_per_key: bool = False
    ahead_s: float | None = None
    sort_first: bool = False
    duplicates: Literal["keep", "first", "last"] = "keep"
    jitter: float = 0.25
    gaps: Policy = "reset"
    gaps_up_to_s: float | None = None
    on_error: Literal["stop", "skip", "quarantine"] = "stop"
    quarantine: str | None = None
    silence_s: float | None = None
    idle_s: float | None = None
    expire_s: float | None = None
    max_keys: int | None = None
    predicate: tuple[tuple[str, str, Any], ...] = ()
    valid: tuple[Valid, ...] = ()
    comes_again: bool = True
    """What was not safe yet comes again after a restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePart(Node):
    """A side stream of a source: ``S.late`` or ``S.silent``."""

    part: Literal["late", "silent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Where(Node):
    """Keep the rows for which the condition holds."""

    condition: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Derive(Node):
    """Add or replace columns, from left to right; also filters and rules."""

    bindings: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Select(Node):
    """Exactly these columns, all computed from the row before."""

    bindings: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules(Node):
    """`classify rules`: the column ``label`` is the first rule that holds; None is missing.

    Each rule is (label, condition); ``for D`` has become ``held(condition, D)``.
    """

    rules: tuple[tuple[str, Expr], ...]
    otherwise: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Node):
    """One branch of `split into`: rows whose hidden column ``_branch`` is this number."""

    branch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch(Node):
    """Computes the hidden column ``_branch`` (i64): the first condition that holds, else the last number."""

    conditions: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rekey(Node):
    """Give the rows to other keys; the old key columns become value columns."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead(Node):
    """Delays rows until `rows` more have come, and adds the later values as columns (``lead``).

    `values`: (new column, expression over the row, number of rows ahead).
    """

    values: tuple[tuple[str, Expr, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeWindow(Node):
    """`window D every S` with its aggregates: rows of [kS, kS + D), or (…] where rows are spans.

    `folds` are the aggregates ((hidden name, Fold)), `results` the columns as expressions over the
    hidden names. In a zone, windows follow the local clock; `zone` None means UTC.

    Without results it makes frames of any length, for `FrameDerive` and then `FrameAggregate`. The
    compiler joins them to one node, with this one and the stages inside as `kept`.
    """

    size_ns: int
    hop_ns: int
    zone: str | None
    folds: tuple[tuple[str, Expr], ...]
    results: tuple[tuple[str, Expr], ...]
    kept: "tuple[Node, ...]" = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CountWindow(Node):
    """`window N samples every M samples` with its aggregates, fused."""

    size: int
    hop: int
    folds: tuple[tuple[str, Expr], ...]
    results: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountFrames(Node):
    """`window N samples every M samples` whose rows are kept, for a model or for `derive` per element."""

    size: int
    hop: int
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameDerive(Node):
    """`derive` on frames: per element; `Fold` inside means the frame."""

    bindings: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameAggregate(Node):
    """`aggregate` on frames whose rows are kept."""

    folds: tuple[tuple[str, Expr], ...]
    results: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitAt(Node):
    """Frames of a signal around events; inputs: (samples, events).

    Samples [i + before, i + after) around the sample i nearest to the event. `event_columns`: (column of
    the event, name in the output). The row carries the times of its first and last sample.
    With `is_even` samples in a row are less than one and a half periods apart; else any time.
    """

    from_ns: int
    to_ns: int
    before: int
    after: int
    columns: tuple[str, ...]
    event_columns: tuple[tuple[str, str], ...]
    is_even: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRows(Node):
    """Frames of rows around events, with times in [t + from_ns, t + to_ns); inputs: (rows, events).

    They are frames as those of `TimeWindow`. The row carries ``start`` and ``end``, t + from_ns and t + to_ns.
    """

    from_ns: int
    to_ns: int
    event_columns: tuple[tuple[str, str], ...]
    folds: tuple[tuple[str, Expr], ...] = ()
    results: tuple[tuple[str, Expr], ...] = ()
    kept: "tuple[Node, ...]" = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitNext(Node):
    """From event to event, with the aggregates of each piece, or frames as `TimeWindow`; inputs: (rows, events)."""

    up_to_ns: int | None
    event_columns: tuple[tuple[str, str], ...]
    folds: tuple[tuple[str, Expr], ...]
    results: tuple[tuple[str, Expr], ...]
    kept: "tuple[Node, ...]" = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut(Node):
    """`split gap D`, `split on E`, `split while E`, with the aggregates of each piece; or frames, as `TimeWindow`."""

    how: Literal["gap", "on", "while"]
    gap_ns: int | None
    condition: Expr | None
    up_to_ns: int | None
    folds: tuple[tuple[str, Expr], ...]
    results: tuple[tuple[str, Expr], ...]
    kept: "tuple[Node, ...]" = ()


AT_ONCE = ("deadband", "quantize", "decimate")
"""Compressions whose rows leave when they come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compress(Node):
    """Fewer rows: deadband, swing, decimate …; `bounds` per column in its unit."""

    method: str
    columns: tuple[str, ...]
    bounds: tuple[float, ...]
    every: int = 0
    is_of_range: bool = False
    """Bounds are parts of the range that a column of a key has had so far."""

    @property
    def is_at_once(self) -> bool:
        """Whether a row that is kept leaves when it comes."""
        return self.method in AT_ONCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Expand(Node):
    """Every row again, at its exact time, from a compressed signal."""

    method: str
    columns: tuple[str, ...]
    bounds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resample(Node):
    """Rows on a grid: multiples of the period from 1970 (rationally exact by `rate`), in a zone of local time."""

    rate: tuple[int, int]
    """The grid's rate [Hz] as numerator and denominator."""
    method: Literal["nearest", "hold", "linear"]
    up_to_ns: int | None
    zone: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unnest(Node):
    """One row per element of lists of equal length: element i at time + i / rate, or the samples of frames at their own times.

    Attributes
    ----------
    frame : how many samples a frame has, each of which comes once; None: the lists hold no samples
    reach_ns : a sample lies so long before the time of its frame at most; None: no bound is known
    """

    columns: tuple[str, ...]
    rate_hz: float | None
    frame: int | None = None
    reach_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Join(Node):
    """As-of join; inputs: (left, right).

    `names`: (right column, name in the output); ``time`` of the right row is among them. `on`:
    key columns shared by both sides. `within_ns` None: latest.
    """

    within_ns: int | None
    method: Literal["before", "nearest", "linear"]
    on: tuple[str, ...]
    names: tuple[tuple[str, str], ...]
    always: bool = False
    """The right side has no time: it is there from the start."""
    has_more_keys: bool = False
    """The right side has keys that the left one lacks: a row for each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Union(Node):
    """Several streams in the order of time, place, sequence; ``branch`` says which."""

    branches: tuple[str, ...]
    scales: tuple[tuple[tuple[str, float, float], ...], ...] = ()
    """Per input: (column, factor, offset) where its unit differs from the first one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks(Node):
    """`detect peaks(x, …)`; `value` is the expression looked at, `operator` holds the options."""

    value: Expr
    operator: Any
    delay_ns: int
    """Subtracted from the time of each event: the delay of the column looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges(Node):
    """`detect edges(c)`: a row where the condition turns true (``edge`` = "rise") or false ("fall")."""

    condition: Expr
    direction: Literal["rise", "fall", "both"]
    apart_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """How a model is called, and what its answers become.

    Attributes
    ----------
    inputs_by_name : columns in the order of the model
    heads : (softmax or sigmoid, its labels, the number of the output), one for each label column
    made : (column, what it is: label, score, probs, raw or samples, the number of the output)
    scaling : for each input (means, standard deviations), one for all its channels or one for each; empty: as it is
    states : (name, shape) of what it remembers of each key
    """

    model: str
    inputs_by_name: tuple[str, ...]
    heads: tuple[tuple[str, tuple[str, ...], int], ...]
    made: tuple[tuple[str, str, int], ...]
    batch: int = 16
    scaling: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()
    states: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Classify(Node):
    """`classify with` a model over frames of fixed length, or over rows.

    Attributes
    ----------
    other : answers where the first does not in time (``else with OTHER``)
    shadow : runs beside it; only how far they agree is told
    deadline_s : of computing, None: any time
    otherwise : (policy, its text or model), of frames that get no answer
    breaker : after so many failures in a row the model rests so long [s] of event time
    """

    call: ModelCall
    other: ModelCall | None = None
    shadow: ModelCall | None = None
    deadline_s: float | None = None
    otherwise: tuple[str, str] = ("missing", "")
    breaker: tuple[int, float] = (10, 30.0)

    @property
    def calls(self) -> tuple[ModelCall, ...]:
        """All models that it may call."""
        return tuple(x for x in (self.call, self.other, self.shadow) if x is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class InOrder(Node):
    """Puts rows that are in order inside each key only into the order (time, key, sequence)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink(Node):
    """Where rows leave."""

    connector: str
    address: str
    options: dict[str, Any] = field(default_factory=dict)
    deadline_s: float | None = None
    otherwise: tuple[str, str] | None = None
    priority: int = 0
    durability: str = "commit"
    sync_s: float = 0.0
    signed_by: str = ""
    writes_files: bool = True
    about: tuple[tuple[str, str], ...] = ()
    """What its files tell besides, as metadata."""
    buffer_bytes: int = 0
    """Of the rows that may wait on the disk for a peer that is away; 0: as many as there is memory for."""
    adds_late: bool = False
    """Rows get a column `late`, for their stream has none."""
    guarantee: str = ""
    """What a peer that may be away promises with checkpoints; empty for files and the terminal."""


def expressions_of(node: Node) -> tuple[Expr, ...]:
    """The expressions that a node evaluates, in the order of its fields."""
    found: list[Expr] = []

    def look(value: object) -> None:
        if isinstance(value, Expr):
            found.append(value)
        elif isinstance(value, tuple):
            for part in value:
                look(part)

    for each in fields(node):
        look(getattr(node, each.name))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A declared model: where it lies and what it must be; `arch`: the class of weights alone; `exact`: its bits are Torch's; `signed_by`: a public key."""

    name: str
    kind: str
    path: str
    sha256: str | None
    device: str = "cpu"
    isolated: bool = False
    arch: str = ""
    exact: bool = True
    signed_by: str = ""
    span: "Span | None" = None


@dataclass(frozen=True, slots=True)
class Graph:
    """The whole dataflow, nodes in an order in which every input comes before its use.

    `zones`: names of the time zones that the text speaks of.
    """

    nodes: tuple[Node, ...]
    models: tuple[ModelFile, ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    zones: tuple[str, ...] = ()
    warnings: tuple[Any, ...] = ()

    def node(self, id_: int) -> Node:
        """The node of this id; raises KeyError."""
        for node in self.nodes:
            if node.id == id_:
                return node
        raise KeyError(id_)

    def readers(self, id_: int) -> tuple[Node, ...]:
        """Nodes that take from this one, in order."""
        return tuple(n for n in self.nodes if id_ in n.inputs)
