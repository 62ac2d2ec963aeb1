"""TLS as all links speak it: the system's authorities or one's own, and a certificate of this side."""

import ssl


def context(ca: str = "", cert: str = "", key: str = "") -> ssl.SSLContext:
    """What a client needs; the peer's certificate and name are always checked.

    Parameters
    ----------
    ca : PEM file of the authorities that are trusted; empty: those of the system
    cert, key : PEM files of this client's certificate and its key, where the peer asks for one

    Raises
    ------
    ValueError : a file is missing, unreadable, or not what it should be
    """
    if key and not cert:
        raise ValueError("`key` without `cert`")
    try:
        made = ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"cannot read the authorities in `{ca}`: {_why(error)}") from None
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert:
        _show(made, cert, key)
    return made


def server_context(cert: str, key: str = "", ca: str = "") -> ssl.SSLContext:
    """What a server needs.

    Parameters
    ----------
    cert, key : PEM files of its certificate, with those up to the authority, and of its key
    ca : PEM file of the authorities whose clients are let in; empty: a client needs no certificate

    Raises
    ------
    ValueError : a file is missing, unreadable, or not what it should be
    """
    if not cert:
        raise ValueError("a server needs `cert`")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # A device that only sends never reads the tickets; with them unread its close resets what is still on the way.
    made.num_tickets = 0
    _show(made, cert, key)
    if ca:
        try:
            made.load_verify_locations(ca)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"cannot read the authorities in `{ca}`: {_why(error)}") from None
        made.verify_mode = ssl.CERT_REQUIRED
    return made


def _show(made: ssl.SSLContext, cert: str, key: str) -> None:
    """Let it show a certificate; raises ValueError."""
    try:
        made.load_cert_chain(cert, key or None)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"cannot read the certificate in `{cert}`: {_why(error)}") from None


def _why(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error.strerror or error)
