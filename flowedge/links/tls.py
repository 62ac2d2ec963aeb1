"""TLS as all links speak it: the system's authorities or one's own, and a certificate of this client."""

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
        try:
            made.load_cert_chain(cert, key or None)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"cannot read the certificate in `{cert}`: {_why(error)}") from None
    return made


def _why(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error.strerror or error)
