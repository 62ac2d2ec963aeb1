"""Diagnostics: what is wrong, where, why it matters, what to write instead. Data first, drawing last."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from flowedge.lang.errors import FlowEdgeError
from flowedge.lang.span import Span

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Label:
    """A marked piece of text; `primary` ones are drawn with ``^``, others with ``-``."""

    span: Span
    text: str = ""
    primary: bool = True


@dataclass(frozen=True, slots=True)
class Edit:
    """A change that a tool can apply: this span becomes this text."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that is wrong.

    Attributes
    ----------
    code : stable for good, for example ``FE403``
    message : lower case, no full stop; makes sense alone in a log
    labels : the place at fault first, then the places that make it one
    why, fix : a sentence each, may be empty
    """

    code: str
    message: str
    labels: tuple[Label, ...] = ()
    why: str = ""
    fix: str = ""
    severity: Severity = "error"
    edit: Edit | None = None

    @property
    def place(self) -> tuple[str, int]:
        """File and offset, to stand in the order of the text."""
        return (self.labels[0].span.file, self.labels[0].span.start) if self.labels else ("", -1)

    def as_json(self) -> dict[str, Any]:
        """The same as plain data, with lines and columns from 1."""
        labels = [
            {
                "file": x.span.file, "line": x.span.line, "column": x.span.column, "start": x.span.start,
                "end": x.span.end, "text": x.text, "primary": x.primary,
            }
            for x in self.labels
        ]  # fmt: skip
        edit = (
            None
            if self.edit is None
            else {
                "file": self.edit.span.file,
                "start": self.edit.span.start,
                "end": self.edit.span.end,
                "text": self.edit.text,
            }
        )
        return {
            "code": self.code, "severity": self.severity, "message": self.message, "labels": labels,
            "why": self.why, "fix": self.fix, "edit": edit,
        }  # fmt: skip


class FlowError(FlowEdgeError):
    """The pipeline is wrong; the diagnostics say where, in the order of the text."""

    exit_code = 1

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(diagnostics, key=lambda d: d.place))
        super().__init__("; ".join(f"{d.code}: {d.message}" for d in self.diagnostics))


class Rule:
    """A diagnostic's class: its code, and its manual page as docstring.

    The docstring is a paragraph, a ``Wrong::`` and a ``Right::`` pipeline; a test runs both.
    """

    code: ClassVar[str]
    severity: ClassVar[Severity] = "error"
    known: ClassVar[dict[str, type["Rule"]]] = {}

    def __init_subclass__(cls) -> None:
        """Keep every rule by its code; a code is given once, for good."""
        if cls.code in Rule.known and Rule.known[cls.code].__qualname__ != cls.__qualname__:
            message = f"two rules have the code {cls.code}"
            raise ValueError(message)
        Rule.known[cls.code] = cls

    @classmethod
    def at(
        cls,
        span: Span,
        message: str,
        *,
        label: str = "",
        others: Iterable[tuple[Span, str]] = (),
        why: str = "",
        fix: str = "",
        edit: str | None = None,
    ) -> Diagnostic:
        """A diagnostic of this rule at a place, with other places that make it one."""
        labels = (Label(span, label), *(Label(s, t, primary=False) for s, t in others))
        return Diagnostic(
            code=cls.code, message=message, labels=labels, why=why, fix=fix, severity=cls.severity,
            edit=None if edit is None else Edit(span, edit),
        )  # fmt: skip


def rules() -> dict[str, type[Rule]]:
    """Every rule of the rooms imported so far, by its code, in order."""
    return dict(sorted(Rule.known.items()))


def page(code: str) -> str | None:
    """The manual page of a code, None where there is none."""
    import inspect  # noqa: PLC0415

    rule = Rule.known.get(code.upper())
    return None if rule is None or rule.__doc__ is None else inspect.cleandoc(rule.__doc__)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one, None where none is."""
    choices = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), choices, n=1, cutoff=0.6)
    return choices[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A fix that names the nearest known name, or those there are."""
    names = sorted(set(known))
    near = nearest(name, names)
    if near is not None:
        return f"did you mean `{near}`?"
    if not names:
        return ""
    return "known: " + ", ".join(f"`{n}`" for n in names[:12]) + (" …" if len(names) > 12 else "")


__all__ = [
    "Diagnostic",
    "Edit",
    "FlowError",
    "Label",
    "Rule",
    "did_you_mean",
    "nearest",
    "page",
    "rules",
]
