"""Draws diagnostics for a terminal, as plain text; columns are right under tabs and wide characters."""

import unicodedata
from collections.abc import Callable, Iterable

from flowedge.lang.diagnostics import Diagnostic, Label

TAB = 4
LONG = 180
"""Columns of a tab; characters of a line beyond which only the part around the fault is drawn."""

Style = Callable[[str, str], str]
"""``style(kind, text)`` colours a piece; kinds: error, warning, line, primary, other, note."""


def plain(kind: str, text: str) -> str:
    """No colour."""
    return text


def render_all(diagnostics: Iterable[Diagnostic], style: Style = plain) -> str:
    """All of them, a blank line between."""
    return "\n".join(render(d, style) for d in diagnostics)


def render(diagnostic: Diagnostic, style: Style = plain) -> str:
    """One diagnostic with its lines of text.

    Examples
    --------
    >>> from flowedge.lang.span import Span
    >>> text = "sink s | where v = 3 to console"
    >>> print(render(Diagnostic("FE101", "`=` in a condition", (Label(Span(17, 18, "a.flow", text), "write `==`"),))), end="")
    error[FE101]: `=` in a condition
      ┌─ a.flow:1:18
      │
    1 │ sink s | where v = 3 to console
      │                  ^ write `==`
      │
    """
    head = (
        style(diagnostic.severity, f"{diagnostic.severity}[{diagnostic.code}]")
        + f": {diagnostic.message}"
    )
    lines = [head]
    groups: dict[str, list[Label]] = {}
    for label in diagnostic.labels:
        groups.setdefault(label.span.file, []).append(label)
    last = max((_last_line(x) for x in diagnostic.labels), default=1)
    width = len(str(last))
    bar = style("line", "│")
    pad = " " * width
    for number, (file, labels) in enumerate(groups.items()):
        first = labels[0].span
        corner = "┌─" if number == 0 else "├─"
        lines += [
            f"{pad} {style('line', corner)} {file}:{first.line}:{first.column}",
            f"{pad} {bar}",
        ]
        lines += _lines(labels, width, style)
    lines.append(f"{pad} {bar}")
    for word, text in (("why", diagnostic.why), ("fix", diagnostic.fix)):
        if text:
            lines.append(f"{pad} {style('note', '=')} {word}: {text}")
    return "\n".join(lines) + "\n"


def _last_line(label: Label) -> int:
    return label.span.line


def _lines(labels: list[Label], width: int, style: Style) -> list[str]:
    out: list[str] = []
    by_line: dict[int, list[Label]] = {}
    for label in labels:
        by_line.setdefault(label.span.line, []).append(label)
    before = None
    bar = style("line", "│")
    for number in sorted(by_line):
        if before is not None and number > before + 1:
            out.append(f"{' ' * width} {style('line', '⋮')}")
        before = number
        span = by_line[number][0].span
        start = span.text.rfind("\n", 0, span.start) + 1
        end = span.text.find("\n", span.start)
        text = span.text[start : len(span.text) if end < 0 else end].rstrip("\r")
        if len(text) > LONG:
            cut = max(0, min(x.span.start for x in by_line[number]) - start - LONG // 3)
            more = "…" if cut + LONG < len(text) else ""
            text = ("…" if cut else "") + text[cut : cut + LONG] + more
            start += max(0, cut - 1)
        out.append(f"{style('line', str(number).rjust(width))} {bar} {_shown(text)}")
        for label in sorted(by_line[number], key=lambda x: (not x.primary, x.span.start)):
            offset = _width(text[: label.span.start - start])
            length = max(
                1, _width(text[label.span.start - start : min(label.span.end - start, len(text))])
            )
            mark = ("^" if label.primary else "-") * length
            drawn = style("primary" if label.primary else "other", f"{mark} {label.text}".rstrip())
            out.append(f"{' ' * width} {bar} {' ' * offset}{drawn}")
    return out


def _shown(text: str) -> str:
    """The text as it is drawn: tabs as spaces, control characters made visible."""
    out = []
    for char in text:
        if char == "\t":
            out.append(" " * TAB)
        elif unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            out.append("" if char == "\ufeff" else "�")
        else:
            out.append(char)
    return "".join(out)


def _width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    total = 0
    for char in text:
        if char == "\t":
            total += TAB
        elif char == "\ufeff" or unicodedata.category(char) in ("Mn", "Me"):
            continue
        else:
            total += 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
    return total
