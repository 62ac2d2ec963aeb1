"""Manual pages: what ``flowedge ops NAME`` prints, and the whole of ``docs/operators.md``.

Both come from the operators themselves: the docstring of the class, its parameters, the steps.
``python -m flowedge.operators.manual > docs/operators.md`` writes the document.
"""

import inspect
import sys

from flowedge.operators import discover
from flowedge.operators.contract import (
    REQUIRED,
    Aggregate,
    Extent,
    Function,
    Operator,
    Parameter,
)

GROUPS: tuple[tuple[str, str, str], ...] = (
    ("function", "Functions", "One value for each row, in any expression; those with a memory keep it for each key."),
    ("filter", "Filters", "`filter NAME(…) on x` overwrites columns; `NAME(x, …)` is the same in an expression."),
    ("aggregate", "Aggregates", "One value for the rows of a window or a frame, or at every row with `over`."),
    ("stage", "Stages", "What stands behind a `|`."),
    ("compress", "Compressions", "`compress NAME(…)`: fewer rows, within a bound."),
    ("detect", "Detectors", "`detect NAME(x, …)`: a stream of events."),
    ("threshold", "Thresholds", "What a detector compares with."),
    ("classify", "Classifiers", "`classify …`: a label for each row or frame."),
)  # fmt: skip
"""Kinds of operators in the order of the document, with a title and a sentence."""


def signature(cls: type[Operator]) -> str:
    """How an operator is written: ``ema(x, tau)``, ``std(x, ddof=0)``, ``split gap D``.

    A stage says so itself, in `written`.
    """
    written = getattr(cls, "written", "")
    if written:
        return str(written)
    values: list[str] = []
    if issubclass(cls, Function | Aggregate):
        least, most = cls.inputs if isinstance(cls.inputs, tuple) else (cls.inputs, cls.inputs)
        names = ("x", "y", "z", "w")[:most] if most != 2 else ("x", "z")
        values = [n if k < least else f"[{n}]" for k, n in enumerate(names)]
    elif cls.kind == "detect":
        values = ["x"]
    given = [p.name if p.default is REQUIRED else f"{p.name}={_shown(p)}" for p in cls.parameters]
    return f"{cls.name}({', '.join([*values, *given])})"


def _shown(parameter: Parameter) -> str:
    """A default as one would write it."""
    value = parameter.default
    if isinstance(value, Extent):
        return f"{value.samples} samples" if value.samples is not None else f"{value.seconds:g} s"
    unit = {"duration": " s", "frequency": " Hz"}.get(parameter.kind, "")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value:g}{unit}" if isinstance(value, float) else f"{value}{unit}"


def text(cls: type[Operator]) -> str:
    """The docstring of an operator, without indentation."""
    return inspect.cleandoc(cls.__doc__ or "")


def kind_of(cls: type[Operator]) -> str:
    """The kind that users know it by; filters are functions to the compiler only."""
    return str(cls.kind)


def page(kind: str | None, name: str) -> str:
    """The manual page of an operator.

    Parameters
    ----------
    kind : as in `discover`, or as the user calls it ("filter"); None for all of that name
    name : the word that users write

    Raises
    ------
    KeyError
        there is no such operator
    """
    found = [
        cls
        for (k, n), cls in discover().items()
        if n == name and kind in (None, k, kind_of(cls))
    ]  # fmt: skip
    if not found:
        raise KeyError(name)
    return "\n\n".join(f"{kind_of(cls)}  {signature(cls)}\n\n{text(cls)}" for cls in found)


def table() -> list[tuple[str, str, str]]:
    """Kind, name and first line of every operator, in the order of `GROUPS`."""
    order = {kind: k for k, (kind, _, _) in enumerate(GROUPS)}
    rows = [(kind_of(cls), name, text(cls).split("\n")[0]) for (_, name), cls in discover().items()]
    return sorted(rows, key=lambda row: (order[row[0]], row[1]))


def markdown() -> str:
    """The text of ``docs/operators.md``."""
    lines = [
        "# Operators",
        "",
        "Written from the operators themselves by `python -m flowedge.operators.manual`; every example",
        "is run by a test. `flowedge ops NAME` prints the same page.",
        "",
    ]
    classes = {(kind_of(cls), name): cls for (_, name), cls in discover().items()}
    rows = table()
    for kind, title, sentence in GROUPS:
        inside = [(name, line) for k, name, line in rows if k == kind]
        if not inside:
            continue
        lines += [f"## {title}", "", sentence, "", "| | |", "|---|---|"]
        lines += [f"| [`{name}`](#{_anchor(kind, name)}) | {line} |" for name, line in inside]
        lines.append("")
        for name, _ in inside:
            cls = classes[kind, name]
            lines += [
                f'<a id="{_anchor(kind, name)}"></a>',
                f"### `{signature(cls)}`",
                "",
                *_body(text(cls)),
                "",
            ]
    return "\n".join(lines).rstrip() + "\n"


def _anchor(kind: str, name: str) -> str:
    return f"{kind}-{name}".replace(" ", "-")


def _body(docstring: str) -> list[str]:
    """A docstring in NumPy style as Markdown: sections in bold, fields as lists, examples as code."""
    lines = docstring.split("\n")
    out: list[str] = []
    section = ""
    is_code = False
    for k, line in enumerate(lines):
        ruler = set(line) == {"-"}
        heading = k + 1 < len(lines) and bool(lines[k + 1]) and set(lines[k + 1]) == {"-"}
        if ruler:
            continue
        if is_code and (heading or not line):
            out.append("```")
            is_code = False
        if heading:
            section = line
            out += [f"**{line}**", ""]
            continue
        if section == "Examples" and line and not is_code:
            out.append("```python")
            is_code = True
        in_list = section in ("Parameters", "Stream", "Raises") and line
        if in_list and not line.startswith(" "):
            term, colon, rest = line.partition(" : ")
            out.append(f"- `{term}`: {rest}" if colon else f"- {line}")
        elif in_list:
            out.append(f"  {line.strip()}")
        elif section == "References":
            out.append(line.replace(".. [", "[", 1).strip() if line else "")
        else:
            out.append(line.replace("``", "`"))
    if is_code:
        out.append("```")
    return out


if __name__ == "__main__":
    sys.stdout.write(markdown())
