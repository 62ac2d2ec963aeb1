"""The grammar of the language, read from `flow.lark`, and the tables built from it."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

RESERVED = frozenset(
    [
        "param",
        "import",
        "def",
        "fn",
        "source",
        "model",
        "stream",
        "sink",
        "test",
        "and",
        "or",
        "not",
        "true",
        "false",
        "nan",
        "inf",
    ]
)
"""Words that are never names."""


def grammar_text() -> str:
    """The grammar: in the package when installed, beside it in a source checkout.

    Raises
    ------
    FileNotFoundError
        the installation is damaged
    """
    here = Path(__file__).parent
    for path in (here / "flow.lark", here.parent.parent / "grammar" / "flow.lark"):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    message = "the grammar flow.lark is missing from the installation"
    raise FileNotFoundError(message)


@lru_cache(maxsize=1)
def parser() -> Any:  # noqa: ANN401  # lark's types are loose
    """The parser, built once a process in about 0.2 s; only a cold start parses."""
    import lark  # noqa: PLC0415

    return lark.Lark(
        grammar_text(),
        parser="lalr",
        lexer="contextual",
        maybe_placeholders=True,
        propagate_positions=True,
    )


@lru_cache(maxsize=1)
def soft_words() -> frozenset[str]:
    """The words of the language that are names elsewhere, such as ``window``, ``to``, ``key``."""
    words = re.findall(r"^_[A-Z_]+\.2: /([a-z]+)\\b/", grammar_text(), re.MULTILINE)
    return frozenset(words) - RESERVED
