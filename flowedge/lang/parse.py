"""Text to syntax tree, or to all the syntax errors that it holds."""

import math
import re
from typing import Any

from flowedge.lang.build import TreeBuilder
from flowedge.lang.diagnostics import Diagnostic, FlowError
from flowedge.lang.grammar import grammar_text, parser
from flowedge.lang.mistakes import diagnose
from flowedge.lang.rules import BadNumber, NotText, TooDeep, UnknownVersion
from flowedge.lang.span import Span
from flowedge.lang.statements import Flow
from flowedge.lang.stuck import Stuck, Token

LONGEST = 4 * 2**20
"""Bytes of a pipeline."""
DEEPEST = 200
"""Levels of brackets, and of expressions inside expressions."""
NESTED = frozenset(
    [
        "binary",
        "negate",
        "not_",
        "any",
        "all",
        "compare",
        "is_in",
        "rolling",
        "index",
        "call",
        "op",
        "args",
        "list",
        "range",
    ]
)
"""Rules of the grammar that make an expression a level deeper: a call is one, its arguments are another."""
LONGEST_NUMBER = 400
"""Characters of a number, and the largest power of ten in it."""
MOST_ERRORS = 50
"""Mistakes reported at once; who has more has opened the wrong file."""

STATEMENT = re.compile(
    r"(?:param|def|fn|source|model|stream|sink)[ \t]+(?:[^\W\d]|`)|(?:import|test)[ \t]*\""
)
"""What a statement begins with for sure: `source` as a column's name in a schema does not look so."""
STATEMENT_WORDS = frozenset(
    ["param", "import", "def", "fn", "source", "model", "stream", "sink", "test"]
)
PIECE = re.compile(
    r'"(?:[^"\\\n]|\\.)*"|`[^`\n]*`|#[^\n]*|[^\W\d]\w*|0x[0-9A-Fa-f]+'
    r"|[0-9][0-9_]*(?:\.[0-9][0-9_]*)?(?:[eE][+-]?[0-9]+)?|[(\[{]|[)\]}]"
)


def decode(data: bytes, file: str = "<text>") -> str:
    """The bytes of a file as text.

    Raises
    ------
    FlowError
        FE111: they are not UTF-8, or too many
    """
    if len(data) > LONGEST:
        raise FlowError([_too_long(len(data), file)])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = len(data[: error.start].decode("utf-8"))
        span = Span(before, before + 1, file, data.decode("utf-8", errors="replace"))
        message = f"byte {error.start + 1} of the file is not UTF-8 text"
        fix = "save the file as UTF-8"
        raise FlowError([NotText.at(span, message, fix=fix)]) from None


def parse(text: str, file: str = "<text>") -> Flow:
    """The syntax tree of a pipeline.

    Parameters
    ----------
    text : the pipeline
    file : what diagnostics call it

    Raises
    ------
    FlowError
        FE1xx: the syntax errors found, at most one a statement, in the order of the text

    Examples
    --------
    >>> parse("sink s | where v > 3 to console").statements[0].connector.name.name
    'console'
    """
    _check_limits(text, file)
    tree, stuck = _attempt(text, file, 0, len(text))
    if stuck is not None:
        raise FlowError(_every_mistake(text, file) or [diagnose(stuck)])
    _check_depth(tree, text, file)
    flow = TreeBuilder(text, file).transform(tree)
    if flow.version not in (None, 1):
        at = re.search(r"\d+", text)
        span = Span(at.start(), at.end(), file, text) if at else flow.span
        message = f"there is no version {flow.version} of the language"
        raise FlowError(
            [UnknownVersion.at(span, message, label="1 is known", edit="1", fix="write `flow 1`")]
        )
    return flow


def tokens(text: str) -> list[Token]:
    """The tokens of a text that parses, without blanks and comments."""
    machine = parser().parse_interactive(text)
    return [_token(t, 0) for t in machine.exhaust_lexer()]


def _every_mistake(text: str, file: str) -> list[Diagnostic]:
    """One mistake of each statement that has one."""
    starts = _statement_starts(text)
    found = []
    for begin, end in zip(starts, [*starts[1:], len(text)], strict=True):
        _, stuck = _attempt(text, file, begin, end)
        if stuck is not None:
            found.append(diagnose(stuck))
        if len(found) == MOST_ERRORS:
            break
    return found


def _statement_starts(text: str) -> list[int]:
    """Where statements begin: at a statement's word that opens a line, outside of brackets or for sure."""
    starts = [0]
    depth = 0
    for match in PIECE.finditer(text):
        word = match.group()
        if word in "([{":
            depth += 1
        elif word in ")]}":
            depth = max(0, depth - 1)
        elif word in STATEMENT_WORDS and (depth == 0 or STATEMENT.match(text, match.start())):
            line = text.rfind("\n", 0, match.start()) + 1
            if line > 0 and not text[line : match.start()].strip():
                starts.append(match.start())
                depth = 0
    return starts


def _attempt(text: str, file: str, begin: int, end: int) -> tuple[Any, Stuck | None]:
    """The lark tree of a piece of the text, or where and how the parser stopped in it."""
    import lark  # noqa: PLC0415

    piece = text[begin:end]
    try:
        return parser().parse(piece), None
    except lark.exceptions.UnexpectedInput:
        pass
    machine = parser().parse_interactive(piece)
    seen: list[Token] = []
    at = end
    try:
        last = None
        for token in machine.lexer_thread.lex(machine.parser_state):
            at = begin + token.start_pos
            machine.feed_token(token)
            seen.append(_token(token, begin))
            last = token
        at = end
        machine.feed_eof(last)
    except lark.exceptions.UnexpectedToken as error:
        if error.token.type != "$END" and error.token.start_pos is not None:
            at = begin + error.token.start_pos
    except lark.exceptions.UnexpectedCharacters as error:
        at = begin + (error.pos_in_stream or 0)
    return None, Stuck(text, file, at, end, tuple(seen), frozenset(machine.accepts()))


def _token(token: Any, begin: int) -> Token:  # noqa: ANN401
    return Token(token.type, begin + token.start_pos, begin + token.end_pos, str(token))


def _too_long(length: int, file: str) -> Diagnostic:
    fix = "a pipeline has at most 4 MiB; keep data in files that a source reads"
    return NotText.at(
        Span(0, 0, file, ""), f"the pipeline is {length / 2**20:.1f} MiB long", fix=fix
    )


def _check_limits(text: str, file: str) -> None:
    """Refuse what would hurt the parser or those behind it: length, NUL bytes, brackets, numbers."""
    if len(text) > LONGEST:
        raise FlowError([_too_long(len(text), file)])
    nul = text.find("\0")
    if nul >= 0:
        span = Span(nul, nul + 1, file, text)
        raise FlowError(
            [NotText.at(span, "a NUL byte in the text", fix="save the file as UTF-8 text")]
        )
    depth = 0
    for match in PIECE.finditer(text):
        word = match.group()
        if word in "([{":
            depth += 1
            if depth > DEEPEST:
                raise FlowError([_too_deep(Span(match.start(), match.end(), file, text))])
        elif word in ")]}":
            depth = max(0, depth - 1)
        elif word[0] in "0123456789":
            _check_number(word, Span(match.start(), match.end(), file, text))


def _check_number(word: str, span: Span) -> None:
    """A number stays small enough to be read exactly, and within what a float64 holds."""
    power = 0 if word[:2] == "0x" else int(re.split("[eE]", word)[1]) if "e" in word.lower() else 0
    if len(word) > LONGEST_NUMBER:
        message = f"a number of {len(word)} characters"
    elif abs(power) > LONGEST_NUMBER or _is_infinite(word):
        message = f"`{word[:40]}` is beyond all floating-point numbers"
    else:
        return
    fix = f"a number has at most {LONGEST_NUMBER} characters and stays below 1.8e308"
    raise FlowError([BadNumber.at(span, message, fix=fix)])


def _is_infinite(word: str) -> bool:
    if word[:2] == "0x":
        return int(word, 16).bit_length() > 1024
    return math.isinf(float(word.replace("_", "")))


def _check_depth(tree: Any, text: str, file: str) -> None:  # noqa: ANN401
    """Refuse expressions nested deeper than `DEEPEST`: long chains of operators, signs and indices count.

    Without recursion, since this is what keeps the recursion of all others bounded.
    """
    stack = [(tree, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > DEEPEST:
            start = node.meta.start_pos if not node.meta.empty else 0
            raise FlowError([_too_deep(Span(start, start + 1, file, text))])
        inner = depth + (node.data in NESTED)
        stack += [(child, inner) for child in node.children if hasattr(child, "children")]


def _too_deep(span: Span) -> Diagnostic:
    message = f"nested more than {DEEPEST} deep"
    return TooDeep.at(span, message, fix="give the inner parts names with `derive` or `fn`")


__all__ = ["DEEPEST", "LONGEST", "decode", "grammar_text", "parse", "tokens"]
