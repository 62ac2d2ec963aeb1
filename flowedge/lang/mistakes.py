"""Mistakes that are recognised where the parser stopped, each told in the user's words."""

import re
from collections.abc import Callable, Sequence

from flowedge.lang.diagnostics import Diagnostic, nearest
from flowedge.lang.expected import ALL_STAGES, ALL_STATEMENTS, VALUE, WORD, unexpected
from flowedge.lang.grammar import RESERVED, soft_words
from flowedge.lang.rules import (
    AssignmentInCondition,
    BadNumber,
    ChainedComparison,
    ForeignComment,
    ForeignOperator,
    OverAfterExpression,
    ReservedWord,
    SingleQuotes,
    UnclosedBracket,
    UnclosedString,
    UnexpectedText,
)
from flowedge.lang.stuck import CLOSES, OPENS, Stuck

BRACKETS = {"(": ")", "[": "]", "{": "}"}
BEYOND_BRACES = frozenset({"to", "deadline", "as"})
COMPARISON = re.compile(r"==|!=|<=|>=|<|>")
FOREIGN = {
    "&&": "and", "||": "or", "**": "^", "===": "==", "!==": "!=", "<>": "!=", "=<": "<=", "=>": ">=",
    "&": "and", "!": "not", "~": "not", "//": "/", "≤": "<=", "≥": ">=", "≠": "!=",
    "×": "*", "÷": "/", "−": "-",  # noqa: RUF001
}  # fmt: skip
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')


def diagnose(stuck: Stuck) -> Diagnostic:
    """What is wrong where the parser stopped: the first mistake that is recognised, else what was expected."""
    for recognise in MISTAKES:
        found = recognise(stuck)
        if found is not None:
            return found
    return unexpected(stuck)


# ---- text and numbers


def _quotes(s: Stuck) -> Diagnostic | None:
    match = re.match("['‘’“”„«]", s.rest)  # noqa: RUF001
    if not match:
        return None
    closed = re.match("['‘]([^'’\"\n]*)['’]|[“”„«]([^“”\"»\n]*)[“”»]", s.rest)  # noqa: RUF001
    span = s.span(s.at, s.at + (closed.end() if closed else 1))
    edit = f'"{closed.group(1) or closed.group(2) or ""}"' if closed else None
    kind = "text in single quotes" if match.group() in "'‘’" else "text in curly quotes"  # noqa: RUF001
    return SingleQuotes.at(
        span,
        kind,
        label='text stands in `"…"`',
        fix=f"write `{edit}`" if edit else 'write `"…"`',
        edit=edit,
    )


def _string(s: Stuck) -> Diagnostic | None:
    if s.rest.startswith('"') and not STRING.match(s.rest):
        what, close = "a text that does not end on its line", '"'
    elif s.rest.startswith("`") and not re.match("`[^`\n]+`", s.rest):
        what, close = "a name in backticks that does not end on its line", "`"
        if s.rest.startswith("``"):
            return UnclosedString.at(
                s.span(s.at, s.at + 2),
                "an empty name in backticks",
                fix="put the name between the backticks",
            )
    else:
        return None
    span = s.span(s.at, s.at + len(s.rest.rstrip()))
    return UnclosedString.at(
        span,
        what,
        label="begins here",
        fix=f"close it with `{close}`" if close == '"' else "close it with a backtick",
    )


def _number(s: Stuck) -> Diagnostic | None:
    after_number = s.last.type in ("INT", "FLOAT") and s.last.end == s.at
    digits = re.match(r"\.([0-9][0-9_]*)", s.rest)
    if after_number and s.rest.startswith(".") and not s.rest.startswith(".."):
        span = s.span(s.last.start, s.at + (digits.end() if digits else 1))
        if s.last.type == "FLOAT":
            return BadNumber.at(
                span, f"`{span.source}` has two points", fix="a number has one point"
            )
        edit = f"{s.last.text}.0"
    elif digits:
        span, edit = s.span(s.at, s.at + digits.end()), f"0.{digits.group(1)}"
    else:
        return None
    message = f"`{span.source}` has no digits on one side of its point"
    return BadNumber.at(
        span, message, label="digits stand on both sides", fix=f"write `{edit}`", edit=edit
    )


# ---- operators


def _comment(s: Stuck) -> Diagnostic | None:
    start = (
        s.last.start
        if s.last.text == "/" and s.last.end == s.at and s.rest[:1] in ("/", "*")
        else s.at
    )
    mark = s.text[start : start + 2]
    if mark not in ("//", "/*", "--", "*/") or (
        mark == "//" and s.accepts >= VALUE and re.match(r"/ *[\w(]+ *([|)\n]|$)", s.rest)
    ):
        return None
    span = s.span(start, start + 2)
    edit = "#" if mark in ("//", "--") else None
    return ForeignComment.at(
        span,
        f"`{mark}` does not begin a comment",
        label="a comment begins with `#`",
        fix="write `#`",
        edit=edit,
    )


def _operator(s: Stuck) -> Diagnostic | None:
    touching = s.last.end == s.at and s.before
    for wrong in sorted(FOREIGN, key=len, reverse=True):
        start = s.at
        if not s.rest.startswith(wrong):
            head = s.last.text
            if not (
                touching
                and wrong.startswith(head)
                and head != wrong
                and s.rest.startswith(wrong[len(head) :])
            ):
                continue
            start = s.last.start
        if wrong == "!" and s.rest.startswith("!="):
            continue
        span, right = s.span(start, start + len(wrong)), FOREIGN[wrong]
        edit = right + " " if wrong in ("!", "~") else right
        return ForeignOperator.at(span, f"`{wrong}` is not an operator of the language", label=f"here it is `{right}`",
                                  fix=f"write `{right}`", edit=edit)  # fmt: skip
    return None


def _assignment(s: Stuck) -> Diagnostic | None:
    if not re.match("=(?!=)", s.rest) or "COMPARE" not in s.accepts:
        return None
    span = s.span(s.at, s.at + 1)
    return AssignmentInCondition.at(span, "`=` does not compare", label="compares with `==`",
                                    why="`=` gives a value a name", fix="write `==`", edit="==")  # fmt: skip


def _comparison_for_name(s: Stuck) -> Diagnostic | None:
    if s.rest.startswith("==") and "EQUAL" in s.accepts:
        start = s.at
    elif s.rest.startswith("=") and s.last.type == "EQUAL" and s.last.end == s.at:
        start = s.last.start
    else:
        return None
    return AssignmentInCondition.at(s.span(start, start + 2), "`==` does not give a name", label="gives a name with `=`",
                                    why="`==` compares two values", fix="write `=`", edit="=")  # fmt: skip


def _chain(s: Stuck) -> Diagnostic | None:
    if not COMPARISON.match(s.rest):
        return None
    depth = 0
    for token in reversed(s.before):
        if token.type in CLOSES:
            depth += 1
        elif token.type in OPENS:
            depth -= 1
        if depth < 0 or (
            depth == 0 and (token.type.startswith("_") or token.type in ("VBAR", "COMMA", "EQUAL"))
        ):
            return None
        if depth == 0 and token.type == "COMPARE":
            middle = " ".join(s.text[token.end : s.at].split())
            fix = f"write `… {token.text} {middle} and {middle} {s.here.source} …`"
            return ChainedComparison.at(s.here, "a comparison has two sides", label="a third side begins here",
                                        others=[(s.span(token.start, token.end), "the first comparison")], fix=fix)  # fmt: skip
    return None


def _over(s: Stuck) -> Diagnostic | None:
    if re.match(r"over\b", s.rest):
        span = s.span(s.at, s.at + 4)
    elif s.last.type == "UNIT_WORD" and s.last.text == "over":
        span = s.span(s.last.start, s.last.end)
    else:
        return None
    return OverAfterExpression.at(span, "`over` follows one aggregate call", label="what stands before it is no call",
                                  why="the extent belongs to an aggregate of the past, such as `mean(x)`",
                                  fix="write `mean(x) over 5 s`, in brackets for more: `(mean(x) over 5 s) ^ 2`")  # fmt: skip


# ---- words and brackets


def _reserved(s: Stuck) -> Diagnostic | None:
    match = WORD.match(s.rest)
    word = match.group() if match else ""
    if word not in RESERVED or "NAME" not in s.accepts:
        return None
    span = s.span(s.at, s.at + len(word))
    if word in ("and", "or") and (
        s.last.type in ("_AND", "_OR", "_NOT", "COMPARE", "PLUS", "MINUS", "TIMES", "POWER")
    ):
        return UnexpectedText.at(
            span,
            f"a value is missing before `{word}`",
            fix=f"`{word}` stands between two conditions",
        )
    if (
        s.accepts >= VALUE
        and s.before
        and f"_{word.upper()}" in ALL_STATEMENTS
        and "\n" in s.text[s.last.end : s.at]
    ):
        return None
    return ReservedWord.at(span, f"`{word}` is a word of the language", label="a name stands here",
                           fix="choose another name, or put this one in backticks")  # fmt: skip


def _bracket(s: Stuck) -> Diagnostic | None:
    close = s.rest[:1] if s.rest[:1] in ")]}" else ""
    if close and s.open is None:
        return UnclosedBracket.at(
            s.here, f"`{close}` closes nothing", fix="delete it, or open the bracket that it closes"
        )
    if s.rest.startswith("[") and "UNIT" in s.accepts:
        return UnclosedBracket.at(
            s.here, "`[` is not closed", label="a unit begins here", fix="close it with `]`"
        )
    if s.open is None:
        return None
    opened = s.span(s.open.start, s.open.end)
    wanted = BRACKETS[s.open.text]
    if close and close != wanted:
        return UnclosedBracket.at(s.here, f"`{s.open.text}` is closed by `{close}`", label=f"`{wanted}` closes it",
                                  others=[(opened, "opened here")], fix=f"write `{wanted}`", edit=wanted)  # fmt: skip
    word = WORD.match(s.rest)
    beyond = BEYOND_BRACES if wanted == "}" else soft_words() | RESERVED
    if not s.is_end and s.rest[:1] != "|" and (word is None or word.group() not in beyond):
        return None
    others = [] if s.is_end else [(s.here, "still open here")]
    return UnclosedBracket.at(opened, f"`{s.open.text}` is not closed", label="opened here", others=others,
                              fix=f"close it with `{wanted}`")  # fmt: skip


def _semicolon(s: Stuck) -> Diagnostic | None:
    if not s.rest.startswith(";"):
        return None
    return UnexpectedText.at(
        s.span(s.at, s.at + 1),
        "`;` ends no statement",
        label="a new line is enough",
        fix="delete it",
        edit="",
    )


def _plus(s: Stuck) -> Diagnostic | None:
    if not s.rest.startswith("+") or not s.accepts >= VALUE:
        return None
    return UnexpectedText.at(
        s.span(s.at, s.at + 1),
        "`+` stands between two values",
        label="no sign of a value",
        fix="delete it",
        edit="",
    )


def _filter(s: Stuck) -> Diagnostic | None:
    if len(s.before) < 2 or s.before[-2].type != "_FILTER" or not COMPARISON.match(s.rest):
        return None
    span = s.span(s.before[-2].start, s.before[-2].end)
    return UnexpectedText.at(span, "`filter` takes a signal filter, not a condition", label="rows are kept by `where`",
                             others=[(s.here, "a condition")], fix="write `where`", edit="where")  # fmt: skip


def _stage(s: Stuck) -> Diagnostic | None:
    """A misspelt stage: what follows it does not fit, since by itself it is the user's own stage."""
    if (
        s.last.type != "NAME"
        or len(s.before) < 2
        or s.before[-2].type not in ("VBAR", "EQUAL")
        or s.is_end
    ):
        return None
    if s.before[-2].type == "EQUAL" and not any(t.type == "_DEF" for t in s.before):
        return None
    if not re.match(r"[\w\"`(\[-]", s.rest):
        return None
    word = s.last.text
    near = nearest(word, [w[1:].lower() for w in ALL_STAGES])
    if near is None:
        return None
    return UnexpectedText.at(
        s.span(s.last.start, s.last.end),
        f"`{word}` is not a stage",
        fix=f"did you mean `{near}`?",
        edit=near,
    )


MISTAKES: Sequence[Callable[[Stuck], Diagnostic | None]] = (
    _quotes, _string, _number, _comment, _operator, _assignment, _comparison_for_name, _chain, _over, _reserved,
    _semicolon, _plus, _filter, _stage, _bracket,
)  # fmt: skip
"""What is recognised, the most special first."""
