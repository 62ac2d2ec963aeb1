"""How pipelines say who logs in to a NATS server: the options of sources and sinks, and the `NatsLogin` that they make."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowedge.links.address import Address
from flowedge.links.tls import context
from flowedge.types.connectors import Option
from flowedge.types.secrets import resolve

PORTS = {"nats": 4222, "tls": 4222, "nats+tls": 4222}

NATS_LOGIN = (
    Option("user", "text", "", "who logs in"),
    Option("password", "secret", "", "of the user"),
    Option("token", "secret", "", "in the place of user and password"),
    Option("nkey", "secret", "", "seed of an nkey, which signs what the server asks"),
    Option("credentials", "secret", "", "what a credentials file holds: a JWT and the seed of its nkey"),
    Option("tls", "flag", default=False, doc="encrypted, as with `tls://` in the address"),
    Option("ca", "text", "", "PEM file of the authorities that are trusted; those of the system"),
    Option("cert", "text", "", "PEM file of this client's certificate"),
    Option("key", "text", "", "PEM file of its key"),
)  # fmt: skip

_JWT, _SEED = "BEGIN NATS USER JWT", "BEGIN USER NKEY SEED"


@dataclass(frozen=True, slots=True)
class NatsLogin:
    """Who connects, and how; all that is empty is not sent.

    Attributes
    ----------
    tls : None: unencrypted
    """

    name: str = "flowedge"
    user: str = ""
    password: str = ""
    token: str = ""
    nkey: str = ""
    credentials: str = ""
    tls: ssl.SSLContext | None = None


def nats_login_of(given: Mapping[str, Any], peer: Address, name: str = "flowedge") -> NatsLogin:
    """Who logs in, by the options `NATS_LOGIN`.

    Raises
    ------
    SecretError : a secret is not where it should be
    ValueError : a file of TLS or credentials are not what they should be, or there are too many ways to log in
    """
    ways = [way for way in ("password", "token", "nkey", "credentials") if given[way]]
    if len(ways) > 1:
        raise ValueError(f"`{ways[0]}` and `{ways[1]}` are two ways to log in; leave one away")
    found = {way: resolve(given[way]).decode().strip() for way in ways}
    is_encrypted = given["tls"] or peer.scheme != "nats"
    unused = [name for name in ("ca", "cert", "key") if given[name]]
    if unused and not is_encrypted:
        raise ValueError(f"`{unused[0]}` without TLS; write `tls://`")
    told = found.get("credentials", "")
    if told and not (_JWT in told and _SEED in told):
        raise ValueError("`credentials` hold no JWT with the seed of its nkey")
    if "nkey" in found or told:
        _see_seed(found.get("nkey") or told.partition(_SEED)[2].split("\n")[1].strip())
    tls = context(given["ca"], given["cert"], given["key"]) if is_encrypted else None
    return NatsLogin(name, given["user"] or peer.user, tls=tls, **found)


def _see_seed(seed: str) -> None:
    """See that a seed is one; raises ValueError without showing it, ImportError."""
    import nkeys  # noqa: PLC0415  # an extra

    try:
        nkeys.from_seed(bytearray(seed.encode())).wipe()
    except Exception:  # noqa: BLE001  # its errors have no common root
        raise ValueError("the seed of an nkey is damaged") from None


__all__ = ["NATS_LOGIN", "PORTS", "NatsLogin", "nats_login_of"]
