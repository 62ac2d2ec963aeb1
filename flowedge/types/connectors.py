"""What a connector is called and takes, as plain data that the checker reasons with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

OptionKind = Literal[
    "text",
    "texts",
    "integer",
    "number",
    "flag",
    "duration",
    "frequency",
    "limit",
    "names",
    "secret",
]

NEEDED: Any = object()
"""The default of an option that must be given."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on a file: of size [bytes] or of event time [s]; exactly one is set."""

    size_bytes: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that a connector may be told.

    Attributes
    ----------
    name : as the user writes it
    kind : what the value is once the checker has resolved it: "text" str; "texts" and "names"
        (column names) tuple of str; "integer" int; "number" float; "flag" bool; "duration"
        float [s]; "frequency" float [Hz]; "limit" a `Limit`, written ``64 [MB]`` or ``1 h``;
        "secret" text that is never printed
    default : what stands when it is left out, `NEEDED` if it must be given
    doc : one line with unit and range
    choices : the only texts that fit, empty for any
    positional : may be given by place, in the order of declaration
    """

    name: str
    kind: OptionKind
    default: Any
    doc: str
    choices: tuple[str, ...] = ()
    positional: bool = False


class OptionError(ValueError):
    """An option that does not fit.

    Parameters
    ----------
    message : lower case, no full stop
    at : name of the option at fault, the position (``"0"``) for one too many, None if it is absent
    fix : what to write instead
    """

    def __init__(self, message: str, at: str | None = None, fix: str = "") -> None:
        super().__init__(message)
        self.message, self.at, self.fix = message, at, fix


def _fits(kind: OptionKind, value: object) -> bool:
    """Whether a resolved value is of this kind."""
    match kind:
        case "text" | "secret":
            return isinstance(value, str)
        case "texts" | "names":
            return isinstance(value, (tuple, list)) and all(isinstance(v, str) for v in value)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "flag":
            return isinstance(value, bool)
        case "limit":
            return isinstance(value, Limit)
        case _:
            return isinstance(value, (int, float)) and not isinstance(value, bool)


_ARTICLES: dict[OptionKind, str] = {
    "text": "a text", "secret": "a secret", "texts": "a list of texts", "names": "a list of columns",
    "integer": "a whole number", "number": "a number", "flag": "true or false",
    "duration": "a duration", "frequency": "a frequency", "limit": "a size such as 64 [MB] or a duration",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signature:
    """All options of a connector, besides its address."""

    options: tuple[Option, ...] = ()

    def option(self, name: str) -> Option | None:
        """The option of this name."""
        return next((o for o in self.options if o.name == name), None)

    def nearest(self, name: str) -> str | None:
        """The known option that looks most like `name`."""
        near = get_close_matches(name.lower(), [o.name for o in self.options], n=1, cutoff=0.6)
        return near[0] if near else None

    def bind(self, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Every option with its value, defaults filled in.

        Parameters
        ----------
        positional, named : resolved values, as `Option.kind` describes them

        Raises
        ------
        OptionError : an unknown option (with the nearest known one), one given twice, one too
            many, one missing, or a value of another kind

        Examples
        --------
        >>> s = Signature((Option("sep", "text", ",", "between two cells"),))
        >>> s.bind((), {"sep": ";"})
        {'sep': ';'}
        """
        by_place = [o for o in self.options if o.positional]
        if len(positional) > len(by_place):
            raise OptionError(
                f"takes {len(by_place)} values by place, {len(positional)} are given",
                str(len(by_place)),
                "name the option: " + ", ".join(f"{o.name}=…" for o in self.options),
            )
        given: dict[str, Any] = {
            o.name: value for o, value in zip(by_place, positional, strict=False)
        }
        for name, value in named.items():
            if self.option(name) is None:
                near = self.nearest(name)
                known = ", ".join(f"`{o.name}`" for o in self.options)
                fix = f"did you mean `{near}`?" if near else f"it takes {known or 'no options'}"
                raise OptionError(f"has no option `{name}`", name, fix)
            if name in given:
                raise OptionError(f"option `{name}` is given twice", name)
            given[name] = value
        for option in self.options:
            if option.name not in given:
                if option.default is NEEDED:
                    raise OptionError(f"needs the option `{option.name}`", None, option.doc)
                given[option.name] = option.default
                continue
            value = given[option.name]
            if not _fits(option.kind, value):
                raise OptionError(
                    f"option `{option.name}` takes {_ARTICLES[option.kind]}, not {value!r}",
                    option.name,
                )
            if option.choices and value not in option.choices:
                choices = ", ".join(f'"{c}"' for c in option.choices)
                raise OptionError(
                    f'option `{option.name}` cannot be "{value}"', option.name, f"one of {choices}"
                )
            if isinstance(value, list):
                given[option.name] = tuple(value)
        return {o.name: given[o.name] for o in self.options}


def united(*groups: Sequence[Option]) -> tuple[Option, ...]:
    """The options of all groups; of two that are called alike the first."""
    found: dict[str, Option] = {}
    for option in (o for group in groups for o in group):
        found.setdefault(option.name, option)
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class ConnectorInfo:
    """What the checker knows of a connector.

    Attributes
    ----------
    name : as the user writes it, ``arrow`` or ``wfdb.annotations``
    side : where it may stand
    options : what it takes besides the address
    doc : its first sentence
    extra : ``pip install flowedge[extra]`` brings its library; None: nothing else needed
    planned : part of the language, but this version has no such connector yet
    needs_address : whether the first argument is an address (``console`` and ``simulate`` have none)
    is_live : its rows do not end
    comes_again : of a live source, from its options and address to whether what was not safe comes again after a restart
    describes_itself : it can say its columns and types before the run
    writes_files : its address is a path on this machine
    converts : reads text, so that each field comes as the type that is declared
    received : the raw field that says when a row came, which is its time where none is declared; empty: none
    mistakes : what becomes of rows that cannot be read, where ``on error`` does not say it
    promises : of a sink whose rows go to a peer that may be away: from its options and address to ``exactly once``, ``at least once`` or
        ``at most once``
    """

    name: str
    side: Literal["source", "sink"]
    options: Signature = Signature()
    doc: str = ""
    extra: str | None = None
    planned: bool = False
    needs_address: bool = True
    is_live: bool = False
    describes_itself: bool = True
    writes_files: bool = True
    converts: bool = False
    received: str = ""
    comes_again: Callable[[Mapping[str, Any], str], bool] | None = None
    mistakes: str = "stop"
    promises: Callable[[Mapping[str, Any], str], str] | None = None
