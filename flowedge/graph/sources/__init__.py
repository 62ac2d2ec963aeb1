"""Sources: from the statement to a node that says what is read, when it happened, and how long to wait."""

from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph.catalog import CatalogError, Described
from flowedge.graph.checker import WILD, Checker, Flow
from flowedge.graph.connectors import Opened, SourceUnreadable, opened
from flowedge.graph.expressions import reads
from flowedge.graph.names import Decl, DeclaredTwice, Scope
from flowedge.graph.sources.columns import (
    declared_columns,
    described_columns,
    key_clause,
    unit_clauses,
)
from flowedge.graph.sources.draft import Draft
from flowedge.graph.sources.event_time import event_time
from flowedge.graph.sources.settings import settings
from flowedge.graph.sources.valid import validity
from flowedge.graph.strings import placeholders
from flowedge.lang import statements as st
from flowedge.lang.diagnostics import Rule
from flowedge.lang.span import Span
from flowedge.types.schema import TEXT, Stream


class RateDiffers(Rule):
    """The file says another rate than the pipeline.

    Wrong::

        source s (v: f64) at 100 Hz from arrow("rate250.arrow")
        sink s to console

    Right::

        source s (v: f64) at 250 Hz from arrow("rate250.arrow")
        sink s to console
    """

    code = "FE415"


class BadRate(Rule):
    """A sample rate is a positive frequency.

    Wrong::

        source s (time, v: f64) at 0 Hz from arrow("in.arrow")
        sink s to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s to console
    """

    code = "FE401"


class LiveKeysUnbounded(Rule):
    """Keys of a live source keep their state for ever, unless something bounds them.

    Wrong::

        source s (time, device: key, v: f64) from feed("x")
        sink s to console

    Right::

        source s (time, device: key, v: f64) from feed("x") expire key after 1 h
        sink s to console
    """

    code = "FE505"
    severity = "warning"


def source(c: Checker, decl: Decl) -> Flow:
    """The flow of a declared source."""
    tree = decl.tree
    assert isinstance(tree, st.Source)
    scope = Scope(decl.module)
    d = Draft()
    clauses = {x.word: x for x in tree.clauses}
    for n, clause in enumerate(tree.clauses):
        first = next(x for x in tree.clauses if x.word == clause.word)
        if first is not clause and clause.word not in ("unit", "valid") and n:
            c.report(
                DeclaredTwice.at(
                    clause.span,
                    f"`{clause.word.replace('_', ' ')}` is said twice",
                    others=[(first.span, "first here")],
                    fix="leave one away",
                )
            )
    key_names = _key_names(tree)
    rate = _rate(c, tree, scope)
    opening = opened(c, tree.connector, scope, "source", key_names)
    d.converts = opening is not None and opening.info is not None and opening.info.converts
    described, unknown = _schema(c, tree, opening)
    if described is not None:
        d.fields.update(dict(described.columns))
    captures = _captures(opening, key_names) if opening else ()
    for name in captures:
        d.fields.setdefault(name, TEXT)
    wild = tree.columns is None and described is None
    declared_columns(c, tree, scope, d, captures, described, unknown, decl)
    if tree.columns is None and described is not None:
        described_columns(d, described, clauses.get("time"))
    key_clause(c, clauses.get("key"), d, wild, decl)
    unit_clauses(c, tree, d, decl, wild)
    rate_hz, rate_at = _settled_rate(c, tree, rate, described, decl, clauses)
    event_time(
        c,
        tree,
        clauses.get("time"),
        scope,
        d,
        described,
        unknown or wild,
        rate_hz,
        decl,
        at_most=tree.at_most,
        received=opening.info.received if opening and opening.info else "",
    )
    is_signal = rate_hz is not None and not tree.at_most
    live = bool(opening and opening.info and opening.info.is_live)
    settings(c, clauses, scope, d, is_signal, live, tree)
    if opening is not None and opening.info is not None:
        d.rest.setdefault("on_error", opening.info.mistakes)
    valid = validity(c, tree, scope, d, decl, wild=wild)
    out = Stream(columns=tuple(d.columns), keys=tuple(d.keys), shape="signal" if is_signal else "rows", rate_hz=rate_hz, has_time=not d.always,
                 in_order=not (d.rest.get("late_per_key") and d.keys), wait_s=_wait(d), is_live=live)  # fmt: skip
    if live and d.keys and "expire_s" not in d.rest and "max_keys" not in d.rest:
        c.report(LiveKeysUnbounded.at(tree.name.span, f"the keys of the live source `{decl.name}` have no bound", why="each key keeps its state for ever",
                                      fix="add `expire key after 1 h`, or `max keys 100000`"))  # fmt: skip
    per_key = clauses["late"].span if d.rest.get("late_per_key") else None
    node = -1
    if (
        opening is not None
        and opening.runs
        and not wild
        and not d.broken
        and (described is not None or not unknown)
    ):
        needed = _needed(d)
        told = opening.info
        again = told is None or (told.comes_again(opening.options, opening.address) if told.comes_again else not told.is_live)  # fmt: skip
        node = c.put(g.Source, (), out, name=decl.name, label=f"source {tree.connector.name}", span=tree.name.span, connector=opening.name,
                     address=opening.address, options=opening.options, raw=tuple((n, ty) for n, ty in d.fields.items() if n in needed),
                     columns=tuple(d.raws), keys=tuple(d.key_raws), captures=captures, time=d.time, parse=d.parse, always=d.always,
                     start_ns=d.start_ns, valid=valid, comes_again=again, **d.rest)  # fmt: skip
    return Flow(node, out if not wild else replace(WILD, has_time=out.has_time, shape=out.shape, rate_hz=out.rate_hz, is_live=live, keys=out.keys),
                decl.name, frozenset(d.broken), wild, per_key, rate_at=rate_at)  # fmt: skip


def _captures(opening: Opened, key_names: Collection[str]) -> tuple[str, ...]:
    """Keys that the address of a source names, or its topic."""
    places = [opening.address, str(opening.options.get("topic") or "")]
    return tuple(name for text in places for name in placeholders(text) if name in key_names)


def _needed(d: Draft) -> set[str]:
    """Raw fields that some column, key or the time reads."""
    found: set[str] = set()
    for raw in (*d.raws, *d.key_raws):
        found |= set(reads(raw.expr)) if raw.expr is not None else {raw.raw or raw.name}
    if d.time is not None:
        found |= reads(d.time)
    return found


def _wait(d: Draft) -> float:
    wait = float(d.rest.get("late_s", 0.0))
    if d.rest.get("gaps") == "linear":
        wait += float(d.rest.get("gaps_up_to_s") or 0.0)
    return wait


def _key_names(tree: st.Source) -> tuple[str, ...]:
    declared = [x.name.name for x in tree.columns or () if x.type is not None and x.type.is_key]
    listed = [n.name for x in tree.clauses if x.word == "key" for n in x.names]
    return (*declared, *listed)


def _rate(c: Checker, tree: st.Source, scope: Scope) -> Fraction | None:
    if tree.rate is None:
        return None
    found = k.frequency(c, tree.rate, k.place_of(scope), "a rate")
    if found is not None and found <= 0:
        c.report(
            BadRate.at(
                tree.rate.span,
                f"a rate of {float(found):g} Hz",
                why="samples follow each other",
                fix="give a positive rate such as `100 Hz`",
            )
        )
        return None
    return found


def _settled_rate(c: Checker, tree: st.Source, rate: Fraction | None, described: Described | None, decl: Decl,
                  clauses: dict[str, st.Clause]) -> tuple[float | None, Span | None]:  # fmt: skip
    """The rate of the signal, from the text or from the file."""
    told = described.rate_hz if described is not None else None
    if rate is not None and tree.rate is not None:
        if told and abs(float(rate) - told) > 0.01 * told and not tree.at_most:
            c.report(RateDiffers.at(tree.rate.span, f"`{decl.name}` is declared at {float(rate):g} Hz, the file says {told:g} Hz",
                                    why="times and cut-offs would be off by as much", fix=f"write `at {told:g} Hz`"))  # fmt: skip
        return float(rate), tree.rate.span
    has_time = (
        "time" in clauses
        or any(x.name.name == "time" for x in tree.columns or ())
        or (described is not None and described.time is not None)
    )
    if tree.rate is None and told and not has_time:
        return told, tree.connector.span
    return None, None


def _schema(c: Checker, tree: st.Source, opening: Opened | None) -> tuple[Described | None, bool]:
    """What the file says; the flag tells that it should say, and could not."""
    if opening is None or not opening.runs:
        return None, True
    info = opening.info
    if tree.columns is not None and info is not None and info.is_live and info.converts:
        return None, False  # it looks for what is declared
    try:
        found = c.catalog.schema(opening.name, opening.address, opening.options)
    except CatalogError as error:
        c.report(SourceUnreadable.at(tree.connector.span, error.message, fix=error.fix))
        return None, True
    if found is None and tree.columns is None:
        c.report(SourceUnreadable.at(tree.connector.span, f"`{tree.connector.name}` cannot say which columns it has", why="nothing here describes them",
                                     fix="declare them: `source name (time, v: f64) from …`"))  # fmt: skip
        return None, True
    return found, False
