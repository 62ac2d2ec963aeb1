"""A compiled pipeline as plain data: all that a session needs, without grammar, units, SciPy or Numba.

A `Program` is what the plan cache stores (`pack`, `unpack`: msgpack) and what `session` runs. Its
nodes stand in an order in which inputs come first. A *batch* travels along each edge: rows in the
stream's order with ``time`` (int64 ns), ``slot`` (int32, the dense number of the row's key in its
key table), optionally ``gap`` (uint8, 1 where memory restarts), and columns as contiguous arrays.

The kernel protocol
-------------------
A kernel is ``int64 kernel(int64 ctx)``; `ctx` is the address of an array of int64 words, numbered
by the constants below. It reads rows ``ctx[ROW] … ctx[ROWS] - 1`` and then, as row ``ctx[ROWS]``,
the watermark; it writes rows from ``ctx[OUT]`` on, and returns

`DONE`
    all rows and the watermark are used up; ``ctx[OUT_WATERMARK]`` is that of its output
`FULL`
    the output has no room (``ctx[OUT_ROOM]``): take the rows out, set ``ctx[OUT]`` to 0, call again
`GROW`
    the arena lacks ``ctx[NEED]`` words: hand in a larger one with the same content, call again; with ``NEEDS_ORDER - n``
    there the first n slots that are touched are to be brought into the order of their keys

It stops only before it changes anything for the row at hand, so that calling again goes on where it
stopped. All memory that outlives a call is in records, blocks, arena and globals; their raw bytes
are the snapshot.

- *records*: one of `record` bytes per slot, template `record_init`.
- *blocks*: one of `block` bytes per slot, contents undefined at the start (rings of known length).
- *arena*: one growing array of 8-byte words for state of unknown length; offsets, never pointers.
  Word 0 is the first free word; the template is ``[1]``.
- *globals*: `globals_init` bytes, one for the whole kernel; then `scratch` words without meaning between calls.
- *touched*: int32 per slot, scratch that is part of the state (slots with an open window).
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import msgpack

from flowedge.types.connectors import Limit

NEEDS_ORDER = -1
ASKS_FOR_ORDER = f"need = {NEEDS_ORDER} - "
"""What stands in a kernel that asks for order, and can be called without."""
IN_ORDER = 1
"""In `ORDER` for the address of one: what is touched stands in order; the kernel takes it away when it has made use of it."""
FEW = 8
"""So many keys for each one that is touched, and sorting those is less work than sorting all."""

# Words of the context, see the module's docstring.
ROW = 0
ROWS = 1
OUT = 2
OUT_ROOM = 3
NEED = 4
WATERMARK = 5  # of the input after these rows: no row before it will come
OUT_WATERMARK = 6
TIME = 7  # address of int64[ROWS]
SLOT = 8  # address of int32[ROWS], 0 for a stream without keys
GAP = 9  # address of uint8[ROWS], 0 where no row restarts
PORT = 10  # address of uint8[ROWS]: the input that each row came by; 0 with one input
SOURCE_ROW = 11  # address of int64[ROWS]: its row in that input's columns; 0 with one input
RECORDS = 12
BLOCKS = 13
ARENA = 14
ARENA_WORDS = 15
GLOBALS = 16
TOUCHED = 17
ORDER = 18  # address of int32[KEYS]: slots in the order of their key values
RANK = 19  # address of int32[KEYS]: place of each slot in ORDER
KEYS = 20  # number of slots in use; at least 1
OUT_TIME = 21  # address of int64[OUT_ROOM]
OUT_SLOT = 22  # address of int32[OUT_ROOM]
OUT_GAP = 23  # address of uint8[OUT_ROOM], 0 where the output has no gaps
COUNTERS = 24  # address of int64[8]: see `COUNTER_NAMES`
MAPS = 25  # address of int64 words: tables that a join needs (right slot -> left slot, …)
FINISH = 26  # 1 in the last call of all: nothing more will ever come
LASTS = 27  # address of int64[KEYS]: the time of each slot's last row at the source, where keys end
AROUND = (
    28  # after how many rows the same keys come again: told by a kernel for eight keys at a time
)
COLUMNS = 32  # addresses of the input columns, then of the output columns

DONE, FULL, GROW = 0, 1, 2
FOREVER = 2**63 - 1
"""Watermark of a stream that has ended."""
NEVER = -(2**63)
"""Watermark of a stream of which nothing is known; also a missing time."""

COUNTER_NAMES = ("filtered", "incomplete", "late", "duplicate", "jitter", "gaps", "held", "spare")


Word = tuple[str, int]
Term = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a batch: its name, how it is stored, and what its metadata will say."""

    name: str
    store: str
    shape: tuple[int, ...] = ()
    unit: str | None = None
    labels: tuple[str, ...] | None = None
    literals: bool = False
    """Texts are numbers into `labels` instead of ids of the session's text pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """Common to all nodes.

    Attributes
    ----------
    inputs : ids of the nodes it takes from, by place
    fields : columns of the batch it gives
    table : number of the key table that its slots count in (-1: no keys, slot 0)
    gaps : its batches carry ``gap``
    label : what `explain` and the ledger call it
    """

    id: int
    inputs: tuple[int, ...] = ()
    fields: tuple[Field, ...] = ()
    table: int = -1
    gaps: bool = False
    name: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSpec(NodeSpec):
    """A generated kernel.

    Attributes
    ----------
    object : key of the object code in `Program.objects`
    reads : (input place, column) in the order of their addresses after `COLUMNS`; a key column of
        the stream is handed in as a column of its type, gathered from the key table
    writes : names in `fields` that the kernel writes, their addresses following those of `reads`
    passed : names in `fields` that are the input's own arrays; only with `is_dense`
    is_dense : gives one row for each row, in place: its time, slot and gap are the input's
    is_filter : gives each row or drops it, at once: rows in that are not out were filtered
    scratch : words of memory behind the globals that a call may overwrite
    room : output rows to offer: rows in times this, at least 1024 unless dense (or it filters: 1.0)
    join : (left table, right table, join table), where two inputs meet by their shared keys: MAPS is
        then the address of two words, the addresses of int32 maps from left and from right slots to
        slots of the join table; a word is 0 where the map is the identity. None for one input.
    busy : places in a record [bytes] of words that are not 0 while its key may give rows without one coming
    stays : places of words that stay when a record is given to another key
    lost : places and signs of words whose sum is lost when a key is forgotten (those below 0 count as 0)
    bounds : (terms, constant, when) of sums of words that are never below 0 between calls, where the word `when`,
        if any, is not 0: what the kernel indexes by. A word is (record | globals | block, its place [bytes]), or
        (arena, 0): how many are in use there; a term has its factor third
    totals : (place in a record, place in the globals): the sum over all keys is the word there
    ring_slots : (places of a ring's offset, room, head and length in a record, words of an element, the one that is
        a slot, key table) of rings in the arena
    ranks_right : MAPS has a third word, the address of int32 ranks of the right table's slots
    abreast : object key of a kernel that does the same for eight keys at a time where rows go round the keys, over the
        same memory (`flowedge.compile.emit.abreast`); "": there is none
    ends_at : id of the source whose keys it sees end (LASTS); -1: it waits for the end of the input
    """

    object: str
    entry: str = "kernel"
    reads: tuple[tuple[int, str], ...] = ()
    writes: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    is_dense: bool = False
    is_filter: bool = False
    record: int = 0
    record_init: bytes = b""
    block: int = 0
    globals_init: bytes = b""
    scratch: int = 0
    has_arena: bool = False
    has_touched: bool = False
    join: tuple[int, int, int] | None = None
    ranks_right: bool = False
    ends_at: int = -1
    busy: tuple[int, ...] = ()
    stays: tuple[int, ...] = ()
    lost: tuple[tuple[int, int], ...] = ()
    bounds: tuple[tuple[tuple[Term, ...], int, Word | None], ...] = ()
    totals: tuple[tuple[int, int], ...] = ()
    ring_slots: tuple[tuple[int, ...], ...] = ()
    room: float = 1.0
    source: str = ""
    stages: tuple[str, ...] = ()
    abreast: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec(NodeSpec):
    """A source: how its raw rows become rows in order.

    `raw`: fields expected in pushed batches. `prepare`: object key of a kernel over the raw fields
    that computes the columns, key columns and time that are expressions (reads raw fields, writes
    `prepared` fields; stateless, dense), "" where nothing is computed. `columns`: (field, raw name).
    `time`: name of the raw or prepared field with the time; ("", start) counts from the rate.
    `time_scale_ns`: ns in one unit of a numeric time, `time_parse`: (format, zone) of a textual one.
    `valid`: (column or "time", policy, low, high, range in words, unit) of columns whose values are looked at.
    `fitting`: (raw field, policy, computed columns that read it) of raw fields whose misfits do not stop the run.
    Options as in `graph.nodes.Source`, in ns.
    """

    raw: tuple[Field, ...] = ()
    prepare: "KernelSpec | None" = None
    columns: tuple[tuple[str, str], ...] = ()
    keys: tuple[tuple[Field, str], ...] = ()
    time: str = ""
    time_scale_ns: float = 1.0
    time_parse: tuple[str, str] | None = None
    always: bool = False
    start_ns: int = 0
    rate_hz: float | None = None
    is_signal: bool = False
    late_ns: int = 0
    late_per_key: bool = False
    ahead_ns: int = -1
    sort_first: bool = False
    duplicates: str = "keep"
    jitter: float = 0.25
    gaps_policy: str = "reset"
    gaps_up_to_ns: int = -1
    on_error: str = "stop"
    silence_ns: int = -1
    idle_ns: int = -1
    expire_ns: int = -1
    max_keys: int = -1
    wants_late: bool = False
    wants_silent: bool = False
    wants_ends: bool = False
    valid: tuple[tuple[str, str, float | None, float | None, str, str], ...] = ()
    fitting: tuple[tuple[str, str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSpec(NodeSpec):
    """The ``late`` or ``silent`` rows of a source (its one input)."""

    part: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RekeySpec(NodeSpec):
    """Rows given to the key columns `keys` (names of fields or keys of the input), table `table`.

    `keep`: (field here, name in the input: a column, or an old key that is now a value).
    """

    keys: tuple[str, ...] = ()
    keep: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec(NodeSpec):
    """Lets rows pass, or sheds them where a run cannot keep up: all behind it is for sinks of this priority at most."""

    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeSpec(NodeSpec):
    """Union: rows of all inputs in the order (time, place, sequence); equal key tables or none.

    `take`: per input, (field here, column there or None, factor, offset); `branches`: texts of the
    field ``branch``.
    """

    take: tuple[tuple[tuple[str, str | None, float, float], ...], ...] = ()
    branches: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSpec(NodeSpec):
    """Rows held until the watermark passes them, then in the order (time, key value, sequence)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSpec:
    """How a model is called, and what its answers become.

    Attributes
    ----------
    inputs_by_name : columns in the model's order, gathered into calls of `batch` frames
    heads : (softmax or sigmoid, its labels, the number of the output), one for each label column
    made : (field here, what it is: label, score, probs, raw, samples (raw, with a value for
        each sample in its last length), the number of the output)
    scaling : for each input (means, standard deviations) of its channels, one or as many as there are; empty: as it is
    states : (name, shape) of what it remembers of each key: its last inputs and last outputs, float32
    """

    model: str
    inputs_by_name: tuple[str, ...] = ()
    heads: tuple[tuple[str, tuple[str, ...], int], ...] = ()
    made: tuple[tuple[str, str, int], ...] = ()
    batch: int = 16
    scaling: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()
    states: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec(NodeSpec):
    """A model over frames.

    Attributes
    ----------
    other : the model that answers where the first does not
    shadow : the model that runs beside it, and is only compared
    passed : fields that are those of the input
    deadline_ns : of an answer, from when its frame is whole; -1: any time
    otherwise : (what becomes of a frame without an answer, its text)
    breaker : (failures in a row after which the model rests, so long [ns] of event time)
    """

    call: CallSpec
    other: CallSpec | None = None
    shadow: CallSpec | None = None
    passed: tuple[str, ...] = ()
    deadline_ns: int = -1
    otherwise: tuple[str, str] = ("missing", "")
    breaker: tuple[int, int] = (10, 30_000_000_000)

    @property
    def calls(self) -> tuple[CallSpec, ...]:
        """All models that it may call."""
        return tuple(x for x in (self.call, self.other, self.shadow) if x is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSpec(NodeSpec):
    """Where rows leave the session; `columns` in order, keys first. The shell finds the connector.

    `durability`: when rows are safe from a loss of power (commit: at every checkpoint; interval: every
    `sync_ns`; os: when the system gets to it). `signed_by`: where the key lies that signs its files. `about`: what
    its schema tells besides, as metadata. `buffer_bytes`: of the rows that may wait on the disk for a peer; 0: none.
    `deadline_ns`: from the receipt of a row to its hand-over; -1: none. `floor_ns`: of that, what the pipeline itself may wait;
    -1: no bound is known. `adds_late`: the last of the fields says whether that
    was too long; its stream does not have it.
    """

    connector: str = ""
    address: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    keys: tuple[Field, ...] = ()
    rate_hz: float | None = None
    has_start: bool = False
    deadline_ns: int = -1
    otherwise: tuple[str, str] | None = None
    durability: str = "commit"
    sync_ns: int = 0
    signed_by: str = ""
    about: tuple[tuple[str, str], ...] = ()
    buffer_bytes: int = 0
    floor_ns: int = -1
    adds_late: bool = False
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFileSpec:
    """The file of a model: where it lies, what it must be, and where it runs.

    Attributes
    ----------
    sha256 : empty: any
    arch : the class of weights alone
    exact : answers have the bits that Torch's have
    signed_by : the public key that must have signed it; empty: none
    """

    name: str
    kind: str
    path: str
    sha256: str = ""
    device: str = "cpu"
    isolated: bool = False
    arch: str = ""
    exact: bool = True
    signed_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """A key table: the fields of its key columns."""

    fields: tuple[Field, ...]


SPECS: dict[str, type[NodeSpec]] = {
    c.__name__: c
    for c in (
        KernelSpec,
        SourceSpec,
        PartSpec,
        RekeySpec,
        GateSpec,
        MergeSpec,
        OrderSpec,
        ModelSpec,
        SinkSpec,
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The whole pipeline, ready to open.

    Attributes
    ----------
    objects : object code by key
    literals : texts that kernels compare with; they get the first ids of the session's pool, in
        this order, so that a kernel can hold them as numbers
    models : the files of all models that its nodes call
    digest : sha256 of the pipeline's meaning: source text, imports, parameters, time zones
    """

    nodes: tuple[NodeSpec, ...]
    tables: tuple[TableSpec, ...]
    objects: dict[str, bytes]
    literals: tuple[str, ...] = ()
    models: tuple[ModelFileSpec, ...] = ()
    digest: str = ""
    explained: str = ""
    connectors: tuple[Any, ...] = ()
    """What the shell opens for each source: (source name, connector, address, options, columns)."""


FORMAT = 10


def pack(program: Program) -> bytes:
    """The program as msgpack bytes."""
    return msgpack.packb(
        {
            "format": FORMAT,
            "nodes": [{"is": type(n).__name__, **asdict(n)} for n in program.nodes],
            "tables": [asdict(t) for t in program.tables],
            "objects": program.objects,
            "literals": program.literals,
            "models": [asdict(m) for m in program.models],
            "digest": program.digest,
            "explained": program.explained,
            "connectors": [
                (name, connector, address, {k: _plain(v) for k, v in options.items()}, columns)
                for name, connector, address, options, columns in program.connectors
            ],
        }
    )


def _tuples(value: Any) -> Any:  # noqa: ANN401
    """Lists back to tuples, and plain maps left as they are."""
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    return value


def _field(value: dict[str, Any]) -> Field:
    return Field(**{k: _tuples(v) for k, v in value.items()})


def _plain(value: Any) -> Any:  # noqa: ANN401
    """An option as plain data."""
    return asdict(value) if isinstance(value, Limit) else value


def _limit(value: Any) -> Any:  # noqa: ANN401
    """A limit back from the plain data that it became; other options are plain already."""
    return Limit(**value) if isinstance(value, dict) else value


def _call(value: dict[str, Any] | None) -> CallSpec | None:
    return None if value is None else CallSpec(**{k: _tuples(v) for k, v in value.items()})


def _spec(value: dict[str, Any]) -> NodeSpec:
    cls = SPECS[value["is"]]
    args: dict[str, Any] = {k: v for k, v in value.items() if k != "is"}
    for name in ("fields", "raw"):
        if name in args:
            args[name] = tuple(_field(f) for f in args[name])
    if cls is SourceSpec:
        args["keys"] = tuple((_field(f), raw) for f, raw in args["keys"])
        prepare = args["prepare"]
        args["prepare"] = None if prepare is None else _spec({"is": "KernelSpec", **prepare})
    elif cls is SinkSpec:
        args["keys"] = tuple(_field(f) for f in args["keys"])
        args["options"] = {k: _limit(v) for k, v in args["options"].items()}
    elif cls is ModelSpec:
        for name in ("call", "other", "shadow"):
            args[name] = _call(args[name])
    return cls(**{k: _tuples(v) for k, v in args.items()})


def unpack(data: bytes) -> Program:
    """The program back from `pack`; raises ValueError where the bytes are not one."""
    value = msgpack.unpackb(data, strict_map_key=False)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        message = "not a program of this format"
        raise ValueError(message)
    return Program(
        nodes=tuple(_spec(n) for n in value["nodes"]),
        tables=tuple(
            TableSpec(fields=tuple(_field(f) for f in t["fields"])) for t in value["tables"]
        ),
        objects=value["objects"],
        literals=tuple(value["literals"]),
        models=tuple(ModelFileSpec(**m) for m in value["models"]),
        digest=value["digest"],
        explained=value["explained"],
        connectors=tuple(
            (
                name,
                connector,
                address,
                {k: _limit(_tuples(v)) for k, v in options.items()},
                _tuples(columns),
            )
            for name, connector, address, options, columns in value["connectors"]
        ),
    )
