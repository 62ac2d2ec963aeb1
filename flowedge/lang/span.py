"""A piece of the text, from which its line, its column and its words can be told."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of text: [start, end) in characters of the file `file`.

    Attributes
    ----------
    text : the whole text of the file, shared by all its spans
    """

    start: int
    end: int
    file: str = "<text>"
    text: str = field(default="", repr=False, compare=False, hash=False)

    @property
    def line(self) -> int:
        """Line number of the start, from 1."""
        return self.text.count("\n", 0, self.start) + 1

    @property
    def column(self) -> int:
        """Character column of the start, from 1."""
        return self.start - (self.text.rfind("\n", 0, self.start) + 1) + 1

    @property
    def source(self) -> str:
        """The text itself."""
        return self.text[self.start : self.end]

    def to(self, other: "Span") -> "Span":
        """From the start of this to the end of the other."""
        return Span(min(self.start, other.start), max(self.end, other.end), self.file, self.text)
