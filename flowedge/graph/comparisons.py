"""Comparisons of two values that are known: their kinds, units and labels."""

from dataclasses import replace

from flowedge.graph import quantities as q
from flowedge.graph.checker import Checker
from flowedge.graph.expressions import Compare, Const, Expr
from flowedge.graph.quantities import Exact, Value, WrongType
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.lang.span import Span
from flowedge.types.schema import BOOL


class FloatEquality(Rule):
    """Computed floats are seldom equal; a tolerance says what is meant.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | where v == 0.3 to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | where abs(v - 0.3) < 0.001 to console
    """

    code = "FE308"
    severity = "warning"


class LabelNeverGiven(Rule):
    """A label is compared with a text that its model or its rules never give.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s
            | classify rules { "high" when v > 3 otherwise "ok" }
            | where label == "hihg"
            to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s
            | classify rules { "high" when v > 3 otherwise "ok" }
            | where label == "high"
            to console
    """

    code = "FE309"


def compare(
    c: Checker, op: str, a: Value, b: Value, spans: tuple[Span, Span], span: Span
) -> Expr | None:
    """``a op b``, once both are known."""
    kinds = [_family(a), _family(b)]
    if q.is_free(a) or q.is_free(b):
        at = spans[0] if q.is_free(a) else spans[1]
        if isinstance(a, Const | Exact) and isinstance(b, Const | Exact):
            return Const(False, BOOL)
        if any(isinstance(x, Const) and x.value is None for x in (a, b)):
            c.report(WrongType.at(at, "nothing equals a missing value", why="a comparison with a missing value is false, `!=` too",
                                  fix="write `missing(x)`"))  # fmt: skip
            return None
    elif kinds[0] != kinds[1]:
        c.report(WrongType.at(spans[1], f"{_in_words(a)} is compared with {_in_words(b)}", label=f"this is {_in_words(b)}",
                              others=[(spans[0], f"this is {_in_words(a)}")], fix="compare values of one kind"))  # fmt: skip
        return None
    if kinds[0] in ("text", "condition", "binary") and op not in ("==", "!="):
        c.report(
            WrongType.at(
                span,
                f"{_in_words(a)} knows `==` and `!=` only",
                why="it has no order here",
                fix="compare for equality",
            )
        )
        return None
    if kinds[0] == "text":
        _labels(c, a, b, spans)
    both = q.align(c, a, b, spans, "comparison", compares=True) if kinds[0] == "number" else (a, b)
    if both is None or q.joint_shape(c, *both, span) is None:
        return None
    a, b = both
    if isinstance(a, Exact) and isinstance(b, Exact):
        told = {"==": a.value == b.value, "!=": a.value != b.value, "<": a.value < b.value, "<=": a.value <= b.value,
                ">": a.value > b.value, ">=": a.value >= b.value}  # fmt: skip
        return Const(told[op], BOOL)
    x = q.settle(a, b.type if not isinstance(b, Exact) else None)
    y = q.settle(b, a.type if not isinstance(a, Exact) else None)
    if (
        op in ("==", "!=")
        and (x.type.is_float or y.type.is_float)
        and not _is_whole(a)
        and not _is_whole(b)
    ):
        c.report(FloatEquality.at(span, f"`{op}` on floats", why="computed floats are seldom equal to the last bit",
                                  fix="compare with a tolerance, for example `abs(a - b) < 0.001`"))  # fmt: skip
    return Compare(op, x, y, replace(BOOL, delay_s=q.delay_of(a, b)))  # type: ignore[arg-type]  # the grammar knows six


def _is_whole(value: Value) -> bool:
    return isinstance(value, Exact) and value.value.denominator == 1


def _family(value: Value) -> str:
    if isinstance(value, Exact) or value.type.is_number:
        return "number"
    return {"string": "text", "bool": "condition"}.get(value.type.store, value.type.store)


def _in_words(value: Value) -> str:
    return {
        "number": "a number",
        "text": "a text",
        "condition": "a condition",
        "time": "a time",
    }.get(_family(value), _family(value))


def _labels(c: Checker, a: Value, b: Value, spans: tuple[Span, Span]) -> None:
    for label, text, at in ((a, b, spans[1]), (b, a, spans[0])):
        if isinstance(label, Exact) or not label.type.labels or not isinstance(text, Const):
            continue
        if isinstance(text.value, str) and text.value not in label.type.labels:
            c.report(LabelNeverGiven.at(at, f'the label is never "{text.value}"', why="the comparison would never hold",
                                        fix=did_you_mean(text.value, label.type.labels)))  # fmt: skip
