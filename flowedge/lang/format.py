"""The canonical layout of a pipeline, as `flowedge fmt` writes it.

The layout follows from the tokens alone: where the text broke its lines has no influence, except
that comments stay behind or above what they were written for, and that an empty line between
statements stays. A statement of many lines has one around it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.errors import InternalError
from flowedge.lang.parse import parse, tokens
from flowedge.lang.stuck import Token

WIDTH = 100
INDENT = 4
OPENS = {"LPAR", "LSQB"}
CLOSES = {"RPAR", "RSQB"}
VALUE_ENDS = {"NAME", "INT", "FLOAT", "UNIT", "UNIT_WORD", "STRING", "CONSTANT", "RPAR", "RSQB"}
"""Tokens that end a value: a minus behind them subtracts, any other is a sign."""


@dataclass(frozen=True, slots=True)
class Item:
    """A token with what belongs to it.

    Attributes
    ----------
    above : comments on lines of their own before it
    behind : the comment behind it on its line, empty for none
    blank : whether an empty line stood above it and its comments
    tight : whether it stands against the token before it
    depth : brackets around it
    """

    token: Token
    above: tuple[str, ...] = ()
    behind: str = ""
    blank: bool = False
    tight: bool = False
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """A line to be laid out: its indentation and its items."""

    indent: int
    items: Sequence[Item]


def format(text: str, file: str = "<text>") -> str:  # noqa: A001  # the word that the user meets
    """The same pipeline in its canonical layout.

    Comments stay, the meaning does not change, and formatting twice is formatting once.

    Raises
    ------
    FlowError
        FE1xx: the text does not parse

    Examples
    --------
    >>> print(format('stream a=s|where v>3 and -x<2   # high'), end="")
    stream a = s
        | where v > 3 and -x < 2  # high
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", " ")
    flow = parse(text, file)
    groups, tail = _statements(text, {s.span.start for s in flow.statements})
    by_start = {s.span.start: s for s in flow.statements}
    lines: list[str] = []
    is_long = False
    for group in groups:
        head = group[0]
        block = _statement([replace(head, above=()), *group[1:]], by_start.get(head.token.start))
        was_long, is_long = is_long, len(block) > 1
        lines += [*([""] if head.blank or was_long or is_long else []), *head.above, *block]
    lines += tail
    while lines and not lines[0]:
        del lines[0]
    out = "".join(f"{line}\n" for line in lines)
    if parse(out, file) != flow:
        raise InternalError(
            "formatting would change the meaning of the pipeline", expected=file, seen=out
        )
    return out


# ---- tokens, comments, statements


def _statements(text: str, starts: set[int]) -> tuple[list[list[Item]], list[str]]:
    """The items of each statement with their comments, and the lines at the end of the file."""
    groups: list[list[Item]] = []
    end = 0
    for token in tokens(text):
        if token.type == "PER_KEY":  # the one token with a blank inside
            token = replace(token, text="per key")  # noqa: PLW2901
        is_start = token.start in starts or not groups
        behind, under, above = _gap(text, end, token.start, is_start=is_start)
        if groups:
            _put_behind(groups[-1], behind, under)
        if is_start:
            groups.append([])
        else:
            above = [x for x in above if x]
        blank = above[:1] == [""]
        groups[-1].append(Item(token, above=tuple(above[blank:]), blank=blank))
        end = token.end
    behind, under, above = _gap(text, end, len(text), is_start=True)
    if groups:
        _put_behind(groups[-1], behind, under)
    while above and not above[-1]:
        above.pop()
    return [_spaced(_without_idle_commas(g)) for g in groups], above


def _put_behind(group: list[Item], behind: str, under: list[str]) -> None:
    if behind or under:
        group[-1] = replace(group[-1], behind="\n".join([behind, *under]))


def _gap(text: str, begin: int, end: int, *, is_start: bool) -> tuple[str, list[str], list[str]]:
    """What stands between two tokens.

    Returns
    -------
    behind : the comment on the line of the token before
    under : indented comments directly under the token before, which belong to its statement
    above : comments on lines of their own; an empty text is an empty line before, between or after them
    """
    lines = text[begin:end].split("\n")
    if end < len(text):
        lines[-1] = "\0"  # the indentation of the token itself, no line
    behind = lines.pop(0).strip("\0 \t\f") if begin else ""
    under: list[str] = []
    while begin and is_start and lines and lines[0][:1] in (" ", "\t", "\f") and lines[0].strip():
        under.append(lines.pop(0).strip())
    above: list[str] = []
    for line in lines:
        word = line.strip()
        if word != "\0" and (word or above[-1:] != [""]):
            above.append(word)
    return behind, under, above


def _without_idle_commas(items: Sequence[Item]) -> list[Item]:
    """Without commas before a closing bracket and between rules."""
    out: list[Item] = []
    braces = brackets = 0
    above: tuple[str, ...] = ()
    for i, item in enumerate(items):
        kind = item.token.type
        braces += (kind == "LBRACE") - (kind == "RBRACE")
        brackets += (kind in OPENS) - (kind in CLOSES)
        following = items[i + 1].token.type if i + 1 < len(items) else ""
        if kind == "COMMA" and (
            following in CLOSES or (braces and _between_rules(items, i, brackets))
        ):
            above += item.above
            if out[-1].behind:
                above += (item.behind,) if item.behind else ()
            else:
                out[-1] = replace(out[-1], behind=item.behind)
            continue
        out.append(replace(item, above=above + item.above))
        above = ()
    return out


def _between_rules(items: Sequence[Item], i: int, brackets: int) -> bool:
    """Whether a comma inside braces stands between two rules: outside of the brackets opened since."""
    opened = next(k for k in range(i, -1, -1) if items[k].token.type == "LBRACE")
    before = sum((x.token.type in OPENS) - (x.token.type in CLOSES) for x in items[:opened])
    return brackets == before


def _spaced(items: Sequence[Item]) -> list[Item]:
    """Say of each item whether it stands tight, and how deep in brackets."""
    out: list[Item] = []
    stack: list[str] = []
    kinds = [x.token.type for x in items]
    statement = kinds[0]
    for i, item in enumerate(items):
        kind, before = kinds[i], kinds[i - 1] if i else ""
        before2 = kinds[i - 2] if i > 1 else ""
        is_call = kind == "LPAR" and before == "NAME" and not (statement == "_SOURCE" and i == 2)
        is_index = kind == "LSQB" and before in ("NAME", "RPAR", "RSQB") and before2 != "_OUTPUT"
        tight = (
            before in OPENS
            or kind in CLOSES
            or kind in ("COMMA", "COLON", "DOT", "LESSTHAN", "MORETHAN")
            or before in ("DOT", "LESSTHAN")
            or ("EQUAL" in (kind, before) and stack[-1:] == ["call"])
            or (before == "MINUS" and before2 not in VALUE_ENDS)
            or is_call
            or is_index
        )
        if kind in OPENS:
            is_formals = statement in ("_DEF", "_FN") and i == 2
            stack.append("call" if is_call and not is_formals else "other")
        elif kind == "LESSTHAN":
            stack.append("shape")
        out.append(replace(item, tight=tight, depth=len(stack) - (kind in (*OPENS, "LESSTHAN"))))
        if kind in (*CLOSES, "MORETHAN"):
            stack.pop()
            out[-1] = replace(out[-1], depth=len(stack))
    return out


# ---- layout


def _statement(items: list[Item], statement: st.Statement | None) -> list[str]:
    """The lines of one statement; `statement` is None for ``flow 1``."""
    lines = [Line(0, items)]
    if statement is not None:
        cuts = _cuts(items, statement)
        has_comments = any(x.behind for x in items[:-1]) or any(x.above for x in items)
        if cuts and (has_comments or _stands_on_many(statement) or _width(items) > WIDTH):
            edges = [0, *cuts, len(items)]
            lines = [
                Line(
                    INDENT if begin and items[begin].token.type != "RBRACE" else 0, items[begin:end]
                )
                for begin, end in pairwise(edges)
            ]
        rules = {
            x.span.start
            for stage in _stages(statement)
            if isinstance(stage, t.ClassifyRules)
            for x in stage.rules
        }
        lines = [x for line in lines for x in _rules(line, rules)]
    return [text for line in lines for text in _write(line)]


def _stages(statement: st.Statement) -> tuple[t.Stage, ...]:
    if isinstance(statement, st.Def):
        return statement.stages
    return statement.pipeline.stages if isinstance(statement, st.Stream | st.Sink) else ()


def _cuts(items: list[Item], statement: st.Statement) -> list[int]:
    """Where a statement of many lines breaks: before stages, the connector, the deadline, clauses."""
    at = {x.token.start: i for i, x in enumerate(items)}

    def place(node: t.Tree) -> int:
        return at[node.span.start]

    cuts = [place(stage) - 1 for stage in _stages(statement)]
    match statement:
        case st.Def(stages=stages):
            cuts[0] = place(stages[0])
        case st.Source(columns=columns, connector=connector, clauses=clauses):
            cuts = [place(connector) - 1] if columns is not None else []
            cuts += [place(c) for c in clauses]
        case st.Model(clauses=clauses):
            cuts = [place(c) for c in clauses]
        case st.Sink(deadline=deadline, connector=connector, clauses=clauses):
            cuts += [place(deadline)] if deadline is not None else []
            cuts += [place(connector) - 1, *(place(c) for c in clauses)]
        case st.Test(given=given, expect=expect):
            cuts = [*sorted(place(x) for x in (*given, *expect)), len(items) - 1]
        case _:
            pass
    return cuts


def _stands_on_many(statement: st.Statement) -> bool:
    """Whether a statement stands on several lines even where one would hold it."""
    stages = _stages(statement)
    if any(isinstance(x, t.ClassifyRules) for x in stages):
        return True
    match statement:
        case st.Test(given=given, expect=expect):
            return bool(given or expect)
        case st.Stream():
            return bool(stages)
        case st.Sink():
            return len(stages) > 1
        case st.Source(clauses=clauses) | st.Model(clauses=clauses):
            return bool(clauses)
        case _:
            return False


def _rules(line: Line, starts: set[int]) -> list[Line]:
    """A line with ``{ … }`` as several: the rules inside stand one under the other."""
    cuts = [i for i, x in enumerate(line.items) if x.token.start in starts]
    if not cuts:
        return [line]
    closes = next(i for i, x in enumerate(line.items) if x.token.type == "RBRACE")
    edges = [*cuts, closes]
    return [
        Line(line.indent, line.items[: cuts[0]]),
        *(Line(line.indent + INDENT, line.items[a:b]) for a, b in pairwise(edges)),
        Line(line.indent + INDENT // 2, line.items[closes:]),
    ]


def _width(items: Sequence[Item]) -> int:
    """Columns that the items take on one line, without the comment behind them."""
    return sum(len(x.token.text) + (not x.tight) for x in items) - 1


def _write(line: Line) -> list[str]:
    """The text of a line; as several where comments ask for it or it is too long."""
    out: list[str] = []
    now = ""
    further = line.indent + INDENT if line.indent else 2 * INDENT
    breaks = _wrapped(line, further)
    for i, item in enumerate(line.items):
        pad = " " * (further if i else line.indent)
        if (i in breaks or item.above) and now:
            out.append(now)
            now = ""
        out += [pad + x for x in item.above]
        now = now + ("" if item.tight else " ") + item.token.text if now else pad + item.token.text
        if item.behind:
            first, *under = item.behind.split("\n")
            out.append(f"{now}  {first}" if first else now)
            out += [" " * INDENT + x for x in under]
            now = ""
    return [*out, now] if now else out


def _wrapped(line: Line, further: int) -> set[int]:
    """Which items begin a further line, where the line is too long: those behind the outermost commas that fill it."""
    breaks: set[int] = set()
    begin, indent = 0, line.indent
    while True:
        column, last = indent, len(line.items)
        for i in range(begin, len(line.items)):
            column += len(line.items[i].token.text) + (not line.items[i].tight and i > begin)
            if column > WIDTH:
                last = i
                break
        if last == len(line.items):
            return breaks
        room = range(begin + 1, last + 1)
        after_comma = [i for i in room if line.items[i - 1].token.type == "COMMA"]
        after_word = [i for i in room if line.items[i].token.type in ("_AND", "_OR")]
        choices = (
            after_comma
            or after_word
            or [
                i
                for i in room
                if line.items[i].token.type in ("PLUS", "MINUS") and not line.items[i].tight
            ]
        )
        if not choices:
            return breaks
        least = min(line.items[i].depth for i in choices)
        cut = max(i for i in choices if line.items[i].depth == least)
        breaks.add(cut)
        begin, indent = cut, further


__all__ = ["format"]
