"""``"{name}"`` in texts: a parameter, a captured key column, or the row's value."""

import re
from collections.abc import Collection

from flowedge.graph.checker import Checker
from flowedge.graph.names import NameClash, Scope
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.lang.span import Span

PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


class UnknownPlaceholder(Rule):
    """``{name}`` in a text is a parameter; in an address also a key column, or at a sink a column.

    A brace of its own is written twice.

    Wrong::

        param folder = "out"
        source s (time, v: f64) from arrow("in.arrow")
        sink s to arrow("{foldr}/a.arrow")

    Right::

        param folder = "out"
        source s (time, v: f64) from arrow("in.arrow")
        sink s to arrow("{folder}/a.arrow")
    """

    code = "FE205"


def resolve(
    c: Checker, text: t.Text, scope: Scope, columns: Collection[str] = (), *, wild: bool = False
) -> str | None:
    """A text with its parameters filled in; names of `columns` stay as ``{name}``.

    Without `columns`, double braces become single ones; with them they stay, for whoever fills in
    the rest. None: a mistake was reported.
    """
    good = True
    module = scope.module

    def fill(match: re.Match[str]) -> str:
        nonlocal good
        if match.group(1) is None:
            return match.group() if columns or wild else match.group()[0]
        name = match.group(1)
        param = c.lookup(module, name, st.Param)
        span = part_span(text, match.group())
        if param is not None and name in columns:
            c.report(NameClash.at(span, f"`{name}` is a parameter and a column", others=[(param.span, "the parameter")],
                                  fix="rename one of them"))  # fmt: skip
            good = False
        elif param is not None:
            value = c.values.get(id(param.tree))
            told = as_text(value)
            if told is None:
                good = False
                return ""
            return told
        elif name in columns or wild:
            return match.group()
        else:
            known = {*module.of(st.Param), *columns}
            c.report(UnknownPlaceholder.at(span, f"unknown `{{{name}}}` in a text", label="no such parameter" + (" or column" if columns else ""),
                                           fix=did_you_mean(name, known) or "write `{{` for a brace"))  # fmt: skip
            good = False
        return ""

    out = PLACE.sub(fill, text.value)
    return out if good else None


def placeholders(value: str) -> tuple[str, ...]:
    """The names in single braces, in order."""
    return tuple(m.group(1) for m in PLACE.finditer(value) if m.group(1) is not None)


def part_span(text: t.Text, part: str) -> Span:
    """Where a piece of a text stands; the whole text where escapes hide it."""
    at = text.span.source.find(part)
    if at < 0:
        return text.span
    return Span(
        text.span.start + at, text.span.start + at + len(part), text.span.file, text.span.text
    )


def as_text(value: t.Value | None) -> str | None:
    """A parameter as it stands in a text."""
    match value:
        case t.Text():
            return value.value
        case t.Number():
            number = (
                str(value.value.numerator)
                if value.value.denominator == 1
                else f"{float(value.value):g}"
            )
            return number if value.unit is None else f"{number} {value.unit}"
        case t.Constant():
            return value.word
        case _:
            return None
