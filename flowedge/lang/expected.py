"""What was expected where the parser stopped, in words: for text that no known mistake explains."""

import re

from flowedge.lang.diagnostics import Diagnostic, nearest
from flowedge.lang.grammar import soft_words
from flowedge.lang.rules import UnexpectedText
from flowedge.lang.stuck import Stuck

VALUE = frozenset({"INT", "LPAR", "NAME"})
STATEMENTS = frozenset({"_PARAM", "_SOURCE", "_STREAM", "_SINK"})
STAGES = frozenset({"_WHERE", "_DERIVE", "_WINDOW"})
OPERATORS = frozenset({"PLUS", "MINUS", "TIMES", "POWER", "COMPARE", "_AND", "_OR", "_IN"})
VALUES = frozenset({"INT", "FLOAT", "STRING", "CONSTANT", "LPAR", "LSQB", "MINUS", "NAME", "_NOT"})
ALL_STATEMENTS = frozenset(
    f"_{w.upper()}"
    for w in ["param", "import", "def", "fn", "source", "model", "stream", "sink", "test", "flow"]
)
ALL_STAGES = frozenset(
    f"_{w.upper()}"
    for w in [
        "where",
        "derive",
        "select",
        "key",
        "filter",
        "compress",
        "resample",
        "window",
        "unnest",
        "aggregate",
        "spectrum",
        "split",
        "join",
        "detect",
        "classify",
    ]
)
IN_WORDS = {
    "NAME": "a name", "STRING": 'a text in `"…"`', "INT": "a whole number", "FLOAT": "a number",
    "UNIT": "a unit in `[…]`", "UNIT_WORD": "a unit", "LPAR": "`(`", "RPAR": "`)`", "LSQB": "`[`",
    "RSQB": "`]`", "COMMA": "`,`", "EQUAL": "`=`", "VBAR": "`|`", "COLON": "`:`", "LBRACE": "`{`",
    "RBRACE": "`}`", "DOT": "`.`", "LESSTHAN": "`<`", "MORETHAN": "`>`", "__ANON_0": "`..`",
    "PER_KEY": "`per key`", "_UNIT_OF": "`unit`", "$END": "the end of the file",
}  # fmt: skip
WORD = re.compile(r"[^\W\d]\w*")


def unexpected(s: Stuck) -> Diagnostic:
    """Text that does not fit, or ends too early, with what would have fitted there."""
    fix = _wanted(s.accepts)
    if s.is_end:
        return _ends_early(s, fix)
    word = s.here.source
    near = (
        nearest(
            word, [_word(name) for name in s.accepts if name.startswith("_") and name != "__ANON_0"]
        )
        if WORD.match(word)
        else None
    )
    if near is not None and near != word:
        return UnexpectedText.at(
            s.here, f"`{word}` is not expected here", fix=f"did you mean `{near}`?", edit=near
        )
    others = []
    if s.last.type == "UNIT_WORD":
        others = [(s.span(s.last.start, s.last.end), "read as the unit of the number before it")]
    elif s.last.type == "NAME" and s.last.text in soft_words():
        others = [(s.span(s.last.start, s.last.end), "read as a name")]
    shown = word if word.isprintable() else f"U+{ord(word[0]):04X}"
    return UnexpectedText.at(s.here, f"`{shown}` is not expected here", others=others, fix=fix)


def _ends_early(s: Stuck, fix: str) -> Diagnostic:
    span = s.span(s.last.start, s.last.end)
    others = []
    if s.end < len(s.text):
        following = re.compile(r"[ \t\ufeff]*(\w+)").match(s.text, s.end)
        if following:
            others = [
                (s.span(following.start(1), following.end(1)), "the next statement begins here")
            ]
    return UnexpectedText.at(
        span,
        "the statement ends too early",
        label="something is missing behind this",
        others=others,
        fix=fix,
    )


def _word(terminal: str) -> str:
    """The word of a keyword's terminal."""
    return "unit" if terminal == "_UNIT_OF" else terminal[1:].lower()


def _wanted(accepts: frozenset[str]) -> str:
    """What would have fitted, in words: groups first, then single signs and words."""
    left = set(accepts)
    words = []
    if left >= VALUE:
        words.append("a value")
        left -= VALUES
    if left >= STAGES:
        words.append("a stage (`where`, `derive`, `filter`, `window`, …)")
        left -= ALL_STAGES | {"NAME"}
    if left >= {"PLUS", "MINUS"}:
        words.append("an operator")
        left -= OPERATORS | {"LPAR", "LSQB"}
    ends = left >= STATEMENTS
    if ends:
        left -= ALL_STATEMENTS | {"$END"}
    signs = sorted(IN_WORDS[n] for n in left if n in IN_WORDS)
    keywords = sorted(f"`{_word(n)}`" for n in left if n not in IN_WORDS and n.startswith("_"))
    words += sorted(signs, key=lambda w: w.startswith("`")) + keywords
    if len(words) > 9:
        words = [*words[:9], "…"]
    if ends:
        words.append("a new statement (`source`, `stream`, `sink`, …)")
    if not words:
        return ""
    return "expected " + (
        words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]
    )
