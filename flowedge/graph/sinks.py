"""Sinks: where rows leave, by what name, how soon, and never into one another."""

from pathlib import PurePosixPath
from typing import Any

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.connectors import BadOption, Opened, opened
from flowedge.graph.deadlines import policy
from flowedge.graph.floors import floors
from flowedge.graph.names import DeclaredTwice, NameClash, Scope
from flowedge.graph.place import Place
from flowedge.graph.quantities import WrongType
from flowedge.graph.stages.frames import as_rows
from flowedge.graph.strings import resolve
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.lang.span import Span
from flowedge.types import units
from flowedge.types.schema import LATE, Column, Stream, Type


class DeadlineBelowFloor(Rule):
    """A sink's deadline counts from the receipt of the first row: lateness, window and waits are in it.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow") late 2 s
        sink s | window 10 s | aggregate mean(v) as m deadline 5 s else drop to console

    Right::

        source s (time, v: f64) from arrow("in.arrow") late 2 s
        sink s | window 10 s | aggregate mean(v) as m deadline 13 s else drop to console
    """

    code = "FE410"


class OnePathTwice(Rule):
    """Two sinks write to one path, and would destroy each other's files.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to arrow("out.arrow") as a
        sink s to arrow("out.arrow") as b

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to arrow("a.arrow") as a
        sink s to arrow("b.arrow") as b
    """

    code = "FE701"


class WritesWhereItReads(Rule):
    """A sink writes to what a source reads.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to arrow("./in.arrow")

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to arrow("out.arrow")
    """

    code = "FE702"


class GuaranteeTooWeak(Rule):
    """`else keep` promises that every row arrives, and the connector is told that rows may be lost.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s deadline 1 s else keep to queue("alarms", qos=0)

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s deadline 1 s else keep to queue("alarms", qos=1)
    """

    code = "FE703"


class SinkNamedTwice(Rule):
    """Two sinks have one name; a sink is called after its stream, unless ``as NAME`` says otherwise.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to arrow("a.arrow")
        sink s to arrow("b.arrow")

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to arrow("a.arrow")
        sink s to arrow("b.arrow") as copy
    """

    code = "FE706"


class Sinks:
    """All sinks of a pipeline, and what they write to."""

    def __init__(self, c: Checker) -> None:
        self.c = c
        self.names: dict[str, Span] = {}
        self.paths: list[tuple[str, Span, str]] = []
        self.reads: list[tuple[str, Span]] = []

    def add(
        self,
        tree: st.Sink,
        flow: Flow | None,
        scope: Scope,
        about: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Check one sink, and make its node; `about` is what its files tell besides."""
        c = self.c
        place = k.place_of(scope)
        given = next((x for x in tree.clauses if x.word == "as"), None)
        known = flow is not None and not flow.wild
        names = flow.type.names() if flow is not None and known else ()
        opening = opened(c, tree.connector, scope, "sink", names, wild=not known)
        limit, otherwise = policy(c, tree.deadline, place, "sink")
        name, span = self._name(tree, given, opening)
        if given is None and tree.pipeline.stages:
            name = self._numbered(name)
        self._once(name, span, given is not None)
        rest = self._clauses(tree, scope, opening)
        if opening is not None:
            self._paths(tree, opening, name)
            self._guarantee(tree, opening, otherwise)
            self._columns(opening, flow)
        if flow is None:
            return
        flow = as_rows(flow) if flow.type.shape == "frames" and opening is None else flow
        if tree.deadline is not None and limit is not None and flow.node >= 0:
            self._floor(tree.deadline, flow, limit)
        if opening is None or not opening.runs or flow.broken:
            return
        out, adds_late = self._marked(tree, flow, otherwise)
        promises = None if opening.info is None else opening.info.promises
        guarantee = "" if promises is None else promises(opening.options, opening.address)
        c.put(g.Sink, (flow,), out, name=name, label=f"sink {opening.name}", span=tree.connector.span, connector=opening.name,
                     address=opening.address, options=opening.options, deadline_s=limit, otherwise=otherwise,
              writes_files=opening.info is None or opening.info.writes_files, about=about, guarantee=guarantee, adds_late=adds_late, **rest)  # fmt: skip

    def _marked(
        self, tree: st.Sink, flow: Flow, otherwise: tuple[str, str] | None
    ) -> tuple[Stream, bool]:
        """What the rows look like with their mark, and whether it is a column more than the stream has."""
        out = flow.type
        if otherwise is None or otherwise[0] != "keep" or tree.deadline is None:
            return out, False
        have = next((c for c in (*out.keys, *out.columns) if c.name == LATE), None)
        if have is None:
            return out.with_columns((Column(LATE, Type("bool")),)), True
        if have.type.store != "bool" or have in out.keys:
            self.c.report(NameClash.at(tree.deadline.span, f"`else keep` marks late rows in a column `{LATE}`, and the stream has another of this name",
                                       fix=f"give it another name: `| select …, other = {LATE}`"))  # fmt: skip
        return out, False

    def _name(
        self, tree: st.Sink, given: st.Clause | None, opening: Opened | None
    ) -> tuple[str, Span]:
        """`as NAME`, the stream's name, or ``stream_connector`` on a chain."""
        if given is not None:
            return given.names[0].name, given.names[0].span
        return name_of(tree, opening.name if opening is not None else ""), tree.pipeline.refs[
            0
        ].span

    def _numbered(self, name: str) -> str:
        """Chains without a name of their own are counted: ``s_arrow``, ``s_arrow_2``."""
        if name not in self.names:
            return name
        return next(
            f"{name}_{n}" for n in range(2, len(self.names) + 3) if f"{name}_{n}" not in self.names
        )

    def _once(self, name: str, span: Span, given: bool) -> None:
        if name in self.names:
            self.c.report(SinkNamedTwice.at(span, f"two sinks are called `{name}`", others=[(self.names[name], "the first one")],
                                            why="results, files and counts go by the sink's name", fix="rename one" if given else f"add `as {name}_2` to this one"))  # fmt: skip
        self.names.setdefault(name, span)

    def _clauses(self, tree: st.Sink, scope: Scope, opening: Opened | None) -> dict[str, Any]:
        rest: dict[str, Any] = {}
        seen: dict[str, st.Clause] = {}
        for clause in tree.clauses:
            if clause.word in seen:
                self.c.report(
                    DeclaredTwice.at(
                        clause.span,
                        f"`{clause.word}` is said twice",
                        others=[(seen[clause.word].span, "first here")],
                        fix="leave one away",
                    )
                )
            seen[clause.word] = clause
            match clause.word:
                case "priority":
                    rest["priority"] = clause.number or 0
                case "durability":
                    word = clause.names[0].name
                    if word not in ("commit", "interval", "os"):
                        self.c.report(
                            BadOption.at(
                                clause.names[0].span,
                                f"unknown durability `{word}`",
                                fix=did_you_mean(word, ("commit", "interval", "os")),
                            )
                        )
                    else:
                        rest["durability"] = word
                    if clause.exprs and word != "interval":
                        self.c.report(
                            BadOption.at(
                                clause.span,
                                f"`durability {word}` takes no time",
                                fix=f"write `durability {word}`, or `durability interval …`",
                            )
                        )
                    elif clause.exprs:
                        seconds = k.duration(
                            self.c, clause.exprs[0], k.place_of(scope), "an interval", positive=True
                        )
                        rest["sync_s"] = float(seconds or 0)
                    elif word == "interval":
                        self.c.report(
                            BadOption.at(
                                clause.span,
                                "`durability interval` without an interval",
                                fix="say how long rows may wait: `durability interval 500 ms`",
                            )
                        )
                case "buffer":
                    size = self._buffer(clause, k.place_of(scope), opening)
                    if size:
                        rest["buffer_bytes"] = size
                case "signed":
                    rest["signed_by"] = resolve(self.c, clause.texts[0], scope)
                    info = None if opening is None else opening.info
                    if info is not None and not info.planned and not info.writes_files:
                        self.c.report(BadOption.at(clause.span, f"`{info.name}` leaves no files that could be signed", why="what is signed is the list of a sink's files",
                                                   fix="leave it away, or write files: `to parquet(…)`"))  # fmt: skip
        return rest

    def _buffer(self, clause: st.Clause, place: Place, opening: Opened | None) -> int:
        """Bytes that may wait on the disk; 0: reported."""
        found = k.exact(self.c, clause.exprs[0], place, "a size")
        if found is None:
            return 0
        if found.unit is None or not found.unit.same_dimension(units.BYTE) or found.value <= 0:
            self.c.report(WrongType.at(clause.exprs[0].span, "a buffer has a size", fix="write `buffer 1 [GB] on disk`"))  # fmt: skip
            return 0
        info = None if opening is None else opening.info
        if info is not None and not info.planned and info.promises is None:
            self.c.report(BadOption.at(clause.span, f"`{info.name}` has no peer that may be away", why="a buffer keeps rows while a peer cannot take them",
                                       fix="leave it away"))  # fmt: skip
            return 0
        return int(units.convert(found.value, found.unit, units.BYTE))

    def _paths(self, tree: st.Sink, opening: Opened, name: str) -> None:
        """No path is written twice, nor written where it is read."""
        if opening.info is None or not opening.info.writes_files or not opening.address:
            return
        path = normal(opening.address)
        span = tree.connector.arguments[0].span if tree.connector.arguments else tree.connector.span
        for other, at, whose in self.paths:
            if overlaps(path, other):
                self.c.report(OnePathTwice.at(span, f"sink `{name}` writes to `{opening.address}`, as `{whose}` does", others=[(at, "the other sink")],
                                              why="one would destroy what the other wrote", fix="give each its own path"))  # fmt: skip
                break
        for other, at in self.reads:
            if overlaps(path, other):
                self.c.report(WritesWhereItReads.at(span, f"sink `{name}` writes to `{opening.address}`, which a source reads", others=[(at, "read here")],
                                                    why="the recording would be destroyed", fix="write to another path"))  # fmt: skip
                break
        self.paths.append((path, span, name))

    def _guarantee(self, tree: st.Sink, opening: Opened, otherwise: tuple[str, str] | None) -> None:
        if otherwise is None or otherwise[0] != "keep" or tree.deadline is None:
            return
        promises = None if opening.info is None else opening.info.promises
        if promises is None or promises(opening.options, opening.address) != "at most once":
            return
        others = [(tree.deadline.policy.span, "every row shall arrive")]
        qos = next((a for a in tree.connector.arguments if a.keyword is not None and a.keyword.name == "qos"), None)  # fmt: skip
        if qos is not None:
            self.c.report(GuaranteeTooWeak.at(qos.span, "`else keep` over a connection that may lose rows", others=others,
                                              why="`qos=0` sends once and never asks", fix="write `qos=1`, or `else drop`"))  # fmt: skip
            return
        self.c.report(GuaranteeTooWeak.at(tree.connector.span, f"`else keep` over `{opening.name}`, which may lose rows", others=others,
                                          why="nobody acknowledges what it sends", fix="write `else drop`, or send to a peer that answers"))  # fmt: skip

    def _columns(self, opening: Opened, flow: Flow | None) -> None:
        """Columns that options name exist; ``day`` and ``hour`` come from the time."""
        if flow is None or flow.wild or opening.info is None:
            return
        for option in opening.info.options.options:
            for value in opening.options.get(option.name) or () if option.kind == "names" else ():
                known = {*flow.type.names(), "year", "month", "day", "hour"}
                if value not in known and value not in flow.broken:
                    self.c.report(
                        BadOption.at(
                            opening.spans.get(option.name, Span(0, 0)),
                            f"unknown column `{value}` in `{option.name}`",
                            fix=did_you_mean(value, known),
                        )
                    )

    def _floor(self, deadline: t.Deadline, flow: Flow, limit: float) -> None:
        floor = floors(self.c.nodes)[flow.node]
        path = self.c.upstream(flow.node)
        all_floors = floors(path)
        if floor is None:
            ahead = next(
                (n for n in path if isinstance(n, g.Ahead) and all_floors[n.id] is None), None
            )
            if ahead is not None and ahead.span is not None:
                self.c.report(DeadlineBelowFloor.at(deadline.limit.span, f"a deadline of {limit:g} s behind `lead`, which waits without a bound",
                                                    others=[(ahead.span, "waits for later rows, however long they take")],
                                                    why="rows without a rate may come at any time", fix="leave `lead` out, or put `| resample …` before it"))  # fmt: skip
            return
        if limit >= floor - 1e-9:
            return
        parts = [(n, all_floors[n.id]) for n in path]
        spans = [
            (n.span, f"holds rows for {f:g} s" if len(n.inputs) == 0 else f"up to {f:g} s here")
            for n, f in parts
            if f and n.span is not None
        ]
        seen = list(dict.fromkeys(spans))[-2:]
        self.c.report(DeadlineBelowFloor.at(deadline.limit.span, f"a deadline of {limit:g} s, and rows wait up to {floor:g} s", others=[(s, x) for s, x in seen if s is not None],
                                            why="lateness, windows and waits count from the first row", fix=f"allow more than {floor:g} s, or wait less"))  # fmt: skip


def name_of(tree: st.Sink, connector: str = "") -> str:
    """What a sink is called: `as NAME`, the stream's name, or ``stream_connector`` on a chain."""
    given = next((x for x in tree.clauses if x.word == "as"), None)
    if given is not None:
        return given.names[0].name
    told = "_".join(str(r) for r in tree.pipeline.refs)
    if tree.pipeline.stages:
        told = f"{told}_{connector or tree.connector.name.name}"
    return told.replace(".", "_")


def normal(path: str) -> str:
    """A path without ``.`` and ``..`` and doubled slashes."""
    out: list[str] = []
    pure = PurePosixPath(path)
    for part in pure.parts:
        if part == ".." and out and out[-1] not in ("..", "/"):
            out.pop()
        elif part != ".":
            out.append(part)
    return str(PurePosixPath(*out)) if out else "."


def overlaps(a: str, b: str) -> bool:
    """Whether one path is the other, or lies inside it."""
    return a == b or a.startswith(b + "/") or b.startswith(a + "/")
