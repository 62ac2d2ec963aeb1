"""The grammar of the language, read from `flow.lark`, and the tables built from it."""

import hashlib
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgpack

from flowedge.cache import default_cache

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
    """The parser; its tables, which take 0.2 s to make, are kept in the cache."""
    import lark  # noqa: PLC0415

    store = default_cache()
    text = grammar_text()
    key = hashlib.sha256("\0".join((lark.__version__, sys.version, text)).encode()).hexdigest()
    kept = store.get("grammar", key)
    if kept is not None:
        # Plain numbers and texts: nothing is unpickled, as lark's own cache would be.
        data, memo = msgpack.unpackb(kept, strict_map_key=False, ext_hook=lambda _, digits: int(digits))  # fmt: skip
        loaded: Any = lark.Lark
        return loaded._load_from_dict(data, memo)  # noqa: SLF001  # what its stand-alone parsers call
    made = lark.Lark(
        text,
        parser="lalr",
        lexer="contextual",
        maybe_placeholders=True,
        propagate_positions=True,
    )
    tables = made.memo_serialize([lark.lexer.TerminalDef, lark.grammar.Rule])
    store.put("grammar", key, msgpack.packb(tables, default=_longer))
    return made


def _longer(number: int) -> msgpack.ExtType:
    """An integer of more than 64 bits: lark's width of what may be of any length."""
    return msgpack.ExtType(1, str(number).encode())


@lru_cache(maxsize=1)
def soft_words() -> frozenset[str]:
    """The words of the language that are names elsewhere, such as ``window``, ``to``, ``key``."""
    words = re.findall(r"^_[A-Z_]+\.2: /([a-z]+)\\b/", grammar_text(), re.MULTILINE)
    return frozenset(words) - RESERVED
