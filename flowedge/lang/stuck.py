"""The place where the parser stopped: what came before it, and what would have fitted."""

import re
from dataclasses import dataclass
from functools import cached_property

from flowedge.lang.span import Span

OPENS = {"LPAR": ")", "LSQB": "]", "LBRACE": "}"}
CLOSES = {"RPAR": "(", "RSQB": "[", "RBRACE": "{"}
LEXEME = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`\n]+`|\w+|==|!=|<=|>=|\.\.|\S')


@dataclass(frozen=True, slots=True)
class Token:
    """A word, sign, number or text, and where it stands."""

    type: str
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Stuck:
    """Where and how the parser stopped.

    Attributes
    ----------
    at : offset of the first character that does not fit; `end` when the text ends too early
    end : offset of the end of the piece that was parsed
    before : the tokens read so far
    accepts : the names of the terminals that would have fitted
    """

    text: str
    file: str
    at: int
    end: int
    before: tuple[Token, ...]
    accepts: frozenset[str]

    def span(self, start: int, end: int) -> Span:
        """A piece of this text."""
        return Span(start, min(end, len(self.text)), self.file, self.text)

    @cached_property
    def rest(self) -> str:
        """The text from the place on, to the end of its line."""
        stop = self.text.find("\n", self.at, self.end)
        return self.text[self.at : self.end if stop < 0 else stop]

    @cached_property
    def is_end(self) -> bool:
        """Whether the statement ended too early."""
        return self.at >= self.end

    @cached_property
    def here(self) -> Span:
        """The lexeme that does not fit."""
        match = LEXEME.match(self.rest)
        return self.span(self.at, self.at + (len(match.group()) if match else 1))

    @cached_property
    def last(self) -> Token:
        """The token before; an empty one at the start."""
        return self.before[-1] if self.before else Token("", self.at, self.at, "")

    @cached_property
    def open(self) -> Token | None:
        """The innermost bracket that is still open."""
        stack: list[Token] = []
        for token in self.before:
            if token.type in OPENS:
                stack.append(token)
            elif token.type in CLOSES and stack:
                stack.pop()
        return stack[-1] if stack else None
