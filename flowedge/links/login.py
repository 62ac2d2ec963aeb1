"""How pipelines say who logs in to an MQTT broker: the options of sources and sinks, and the `Login` that they make."""

from collections.abc import Mapping
from typing import Any

from flowedge.links.address import Address
from flowedge.links.mqtt import Login
from flowedge.links.tls import context
from flowedge.types.connectors import Option
from flowedge.types.secrets import resolve

LOGIN = (
    Option("user", "text", "", "who logs in"),
    Option("password", "secret", "", "of the user"),
    Option("ca", "text", "", "PEM file of the authorities that are trusted; those of the system"),
    Option("cert", "text", "", "PEM file of this client's certificate"),
    Option("key", "text", "", "PEM file of its key"),
    Option(
        "version",
        "text",
        "auto",
        "of MQTT; 5 where QoS 1 or 2 is asked for, else 3.1.1",
        choices=("auto", "5", "3.1.1"),
    ),
)


def login_of(
    given: Mapping[str, Any],
    peer: Address,
    client_id: str,
    session_s: int = 0,
    keepalive_s: int = 30,
) -> Login:
    """Who logs in, by the options `LOGIN`.

    Raises
    ------
    SecretError : the password is not where it should be
    ValueError : a file of TLS is missing, or not what it should be
    """
    password = None
    if given["password"]:
        password = resolve(given["password"]).decode().rstrip("\r\n")
    tls = context(given["ca"], given["cert"], given["key"]) if peer.scheme == "mqtts" else None
    # MQTT 5 costs Paho a third more for each message, and gives QoS 0 nothing.
    told = given["version"]
    version = 5 if told == "5" or (told == "auto" and given["qos"]) else 4
    user = given["user"] or peer.user
    return Login(client_id, user, password, session_s, version, keepalive_s, tls)


__all__ = ["LOGIN", "login_of"]
