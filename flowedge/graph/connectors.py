"""Connectors: which one is meant, its address, and its options as plain values."""

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from flowedge.graph import constants as k
from flowedge.graph.checker import Checker
from flowedge.graph.names import Scope
from flowedge.graph.place import Place
from flowedge.graph.quantities import WrongType
from flowedge.graph.strings import resolve
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.lang.span import Span
from flowedge.types import units
from flowedge.types.connectors import ConnectorInfo, Limit, Option, OptionError


class UnknownConnector(Rule):
    """A connector that does not exist on this side.

    Wrong::

        source s (time, v: f64) from arow("in.arrow")
        sink s to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to console
    """

    code = "FE214"


class PlannedConnector(Rule):
    """A connector of the language that this version does not have yet.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to mqtt("mqtt://broker/topic")

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to arrow("out.arrow")
    """

    code = "FE291"


class BadOption(Rule):
    """An option that the connector does not have, lacks, or cannot take.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to parquet("out", partitions=["day"])

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to parquet("out", partition=["day"])
    """

    code = "FE705"


class PlainSecret(Rule):
    """A password in the text is read by all who read the pipeline.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to vault("out", password="hunter2")

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to vault("out", password=secret("env:VAULT_PASSWORD"))
    """

    code = "FE704"


class SecretInTheOpen(Rule):
    """A secret over a link without encryption is read by whoever is between the two machines.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to vault("mqtt://broker.example/out", password=secret("env:VAULT_PASSWORD"))

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to vault("mqtts://broker.example/out", password=secret("env:VAULT_PASSWORD"))
    """

    code = "FE710"
    severity = "warning"


class SourceUnreadable(Rule):
    """A source that is missing, cannot be read, or cannot say which columns it has.

    Wrong::

        source s from arrow("missing.arrow") time time
        sink s to console

    Right::

        source s from arrow("typed.arrow") time time
        sink s to console
    """

    code = "FE707"


SECRETS = frozenset({
    "password", "token", "nkey", "credentials", "secret", "api_key", "passphrase", "private_key", "encrypt", "decrypt",
})  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """A connector as the text asks for it; `runs` is False where it cannot be opened yet.

    `spans`: where each option stands.
    """

    name: str
    address: str
    options: dict[str, Any]
    info: ConnectorInfo | None
    runs: bool
    spans: dict[str, Span] = field(default_factory=dict)


def opened(
    c: Checker,
    call: t.Call,
    scope: Scope,
    side: Literal["source", "sink"],
    columns: Collection[str] = (),
    *,
    wild: bool = False,
) -> Opened | None:
    """The connector of a source or a sink; `columns` may stand in its address. None: nothing is known."""
    look = c.catalog.source if side == "source" else c.catalog.sink
    name = call.name.name
    info = look(name)
    if info is None and "_" in name:
        dotted = name.replace("_", ".", 1)
        info = look(dotted)
        name = dotted if info is not None else name
    if info is None:
        other = c.catalog.sink(name) if side == "source" else c.catalog.source(name)
        fix = (
            f"`{name}` is a {'sink' if side == 'source' else 'source'} only"
            if other is not None
            else did_you_mean(name, _known(c, side))
        )
        c.report(UnknownConnector.at(call.name.span, f"unknown {side} `{name}`", fix=fix))
    elif info.planned:
        c.report(PlannedConnector.at(call.name.span, f"`{name}` is part of the language, but this version has no such {side} yet",
                                     fix="files work: " + ", ".join(f"`{n}`" for n in _known(c, side)[:6])))  # fmt: skip
    runs = info is not None and not info.planned
    place = k.place_of(scope)
    positional = [a for a in call.arguments if a.keyword is None]
    address: str | None = ""
    needs = info.needs_address if info is not None else bool(positional)
    if needs:
        if not positional:
            c.report(
                BadOption.at(
                    call.span, f"`{name}` lacks its address", fix=f'write `{name}("path")`'
                )
            )
            return None
        first = positional.pop(0).value
        if isinstance(first, t.Text):
            address = resolve(c, first, scope, columns, wild=wild)
        else:
            address = k.text(c, first, place, "an address")
        if address is not None and _has_password(address):
            c.report(PlainSecret.at(first.span, "a password in the address", why="whoever reads the pipeline reads it too",
                                    fix='leave it out and write `password=secret("env:NAME")`'))  # fmt: skip
        if address is not None and (asked := _secret_in_query(address)):
            c.report(PlainSecret.at(first.span, f"`{asked}` in the address", why="whoever reads the pipeline reads it too, and servers note addresses",
                                    fix='leave it out and write `token=secret("env:NAME")`'))  # fmt: skip
    _secrets(c, call)
    if address is None:
        return None
    _in_the_open(c, call, address)
    if info is None or info.planned:
        _read_parameters(c, call, scope)
        return Opened(name, address, {}, info, runs=False)
    named = [a for a in call.arguments if a.keyword is not None]
    given, spans = _given(c, name, info, [*positional, *named], place, columns, wild=wild)
    if given is None:
        return Opened(name, address, {}, info, runs=False, spans=spans)
    try:
        bound = info.options.bind((), given)
    except OptionError as error:
        at = spans.get(error.at or "", call.span)
        c.report(BadOption.at(at, f"`{name}`: {error.message}", fix=error.fix))
        return Opened(name, address, {}, info, runs=False, spans=spans)
    return Opened(name, address, {key: bound[key] for key in given}, info, runs, spans)


def _given(c: Checker, name: str, info: ConnectorInfo, arguments: Sequence[t.Argument], place: Place,
           columns: Collection[str], *, wild: bool) -> tuple[dict[str, Any] | None, dict[str, Span]]:  # fmt: skip
    """The options that a call gives, and where each stands; None in place of options: reported."""
    known = [o.name for o in info.options.options]
    free = [o for o in info.options.options if o.positional]
    given: dict[str, Any] = {}
    spans: dict[str, Span] = {}
    good = True
    for a in arguments:
        if a.keyword is not None:
            option, at = info.options.option(a.keyword.name), a.keyword.span
            missing = f"`{name}` has no option `{a.keyword}`"
            near = did_you_mean(a.keyword.name, known)
        else:
            option, at = free.pop(0) if free else None, a.span
            missing = f"`{name}` takes no more values by place"
            near = did_you_mean("", known)
        if option is None:
            c.report(BadOption.at(at, missing, fix=near or "it takes no options"))
            good = False
            continue
        if option.name in given:
            c.report(
                BadOption.at(at, f"option `{option.name}` is given twice", fix="leave one away")
            )
            good = False
            continue
        value = option_value(c, option, a.value, place, columns, wild=wild)
        good = good and value is not None
        given[option.name], spans[option.name] = value, a.value.span
    return (given if good else None), spans


def _known(c: Checker, side: str) -> list[str]:
    every = [
        (n, c.catalog.source(n) if side == "source" else c.catalog.sink(n))
        for n in c.catalog.connectors()
    ]
    return [n for n, info in every if info is not None and not info.planned]


def _has_password(address: str) -> bool:
    """Whether an address says ``user:password@host``."""
    _, scheme, rest = address.partition("://")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    return bool(scheme and at) and ":" in user


def _secret_in_query(address: str) -> str:
    """Which name with a value behind the question mark of an address of HTTP is that of a secret; empty: none."""
    scheme, _, rest = address.partition("://")
    if scheme not in ("http", "https"):
        return ""
    given = parse_qsl(rest.partition("?")[2])
    return next((name for name, _ in given if name.lower() in _ASKED), "")


_ASKED = SECRETS | {"access_token", "apikey", "pwd"}
_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token"})  # fmt: skip
"""Headers of HTTP that hold nothing but secrets."""


def _secrets(c: Checker, call: t.Call) -> None:
    for a in call.arguments:
        if a.keyword is not None and a.keyword.name in SECRETS and isinstance(a.value, t.Text):
            c.report(PlainSecret.at(a.value.span, f"a plain text as `{a.keyword}`", why="whoever reads the pipeline reads it too",
                                    fix=f'write `{a.keyword}=secret("env:NAME")`'))  # fmt: skip
        if a.keyword is not None and a.keyword.name == "headers":
            _secret_headers(c, a.value)


def _secret_headers(c: Checker, value: t.Value) -> None:
    """Headers stand in the text as they are."""
    for item in value.values if isinstance(value, t.List) else (value,):
        if not isinstance(item, t.Text):
            continue
        name = item.value.partition(":")[0].strip()
        if name.lower() in _HEADERS:
            c.report(PlainSecret.at(item.span, f"a plain text as `{name}`", why="whoever reads the pipeline reads it too",
                                    fix='write `token=secret("env:NAME")`, or `api_key=` with `api_key_header=`'))  # fmt: skip


_OPEN = {"mqtt": "mqtts", "nats": "tls", "http": "https", "ws": "wss"}
"""Schemes without encryption, and those that have it."""
_STAY = frozenset({"nkey", "credentials"})
"""Secrets that sign, and are not sent."""


def _in_the_open(c: Checker, call: t.Call, address: str) -> None:
    """Warn of a secret that is sent to another machine as it is."""
    scheme, found, rest = address.partition("://")
    if not found or scheme not in _OPEN or _is_local(rest) or _says_tls(call):
        return
    for a in call.arguments:
        if a.keyword is not None and a.keyword.name in SECRETS - _STAY:
            c.report(SecretInTheOpen.at(a.span, f"`{a.keyword}` goes over the network as it is", why=f"`{scheme}://` has no encryption",
                                        fix=f"write `{_OPEN[scheme]}://`, if the peer speaks it"))  # fmt: skip


def _says_tls(call: t.Call) -> bool:
    """Whether an option asks for encryption that the scheme does not tell of."""
    return any(
        a.keyword is not None
        and a.keyword.name == "tls"
        and isinstance(a.value, t.Constant)
        and a.value.word == "true"
        for a in call.arguments
    )


def _is_local(place: str) -> bool:
    """Whether an address behind its scheme is on this machine."""
    try:
        host = urlsplit(f"//{place}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_parameters(c: Checker, call: t.Call, scope: Scope) -> None:
    """Texts of options are read for their parameters, though nobody takes them."""
    for a in call.arguments:
        if a.keyword is not None and isinstance(a.value, t.Text):
            resolve(c, a.value, scope, (), wild=True)


def option_value(
    c: Checker, option: Option, tree: t.Value, place: Place, columns: Collection[str], *, wild: bool
) -> Any:  # as many kinds  # noqa: ANN401
    """One option, resolved as its kind says; None: reported."""
    what = f"option `{option.name}`"
    match option.kind:
        case "secret":
            return _secret(c, tree, place, what)
        case "text":
            if isinstance(tree, t.Text):
                return resolve(c, tree, place.scope, columns, wild=wild)
            if isinstance(tree, t.Name) and tree.name in option.choices:
                return tree.name
            return k.text(c, tree, place, what)
        case "texts" | "names":
            return _texts(c, option, tree, place, what)
        case "limit":
            return _limit(c, tree, place, what)
        case _:
            return k.simple(c, option.kind, tree, place, what)


def _secret(c: Checker, tree: t.Value, place: Place, what: str) -> str | None:
    if isinstance(tree, t.Call) and tree.name.name == "secret" and len(tree.arguments) == 1:
        return k.text(c, tree.arguments[0].value, place, "where the secret lies")
    if isinstance(tree, t.Text):
        return None
    c.report(WrongType.at(tree.span, f"{what} is a secret", fix='write `secret("env:NAME")`'))
    return None


def _texts(
    c: Checker, option: Option, tree: t.Value, place: Place, what: str
) -> tuple[str, ...] | None:
    items = tree.values if isinstance(tree, t.List) else (tree,)
    found: list[str] = []
    for item in items:
        if (
            option.kind == "names"
            and isinstance(item, t.Name)
            and item.name not in place.scope.formals
        ):
            found.append(item.name)
            continue
        text = k.text(c, item, place, what)
        if text is None:
            return None
        found.append(text)
    return tuple(found)


def _limit(c: Checker, tree: t.Value, place: Place, what: str) -> Limit | None:
    found = k.exact(c, tree, place, what)
    if found is None:
        return None
    if found.unit is not None and found.unit.same_dimension(units.BYTE) and found.value > 0:
        return Limit(size_bytes=int(units.convert(found.value, found.unit, units.BYTE)))
    if found.unit is not None and found.unit.same_dimension(units.SECOND) and found.value > 0:
        return Limit(seconds=float(units.convert(found.value, found.unit, units.SECOND)))
    c.report(
        WrongType.at(tree.span, f"{what} is a size or a duration", fix="write `64 [MB]` or `1 h`")
    )
    return None
