"""What a body holds: names of media types for formats of payloads, and formats for those names."""

from email.message import Message

LINES = "lines"
"""Not a format of one payload: each line of the body is one, of JSON."""
_ANY = "auto"

MEDIA = {
    "json": "application/json",
    "msgpack": "application/msgpack",
    "cbor": "application/cbor",
    "arrow": "application/vnd.apache.arrow.stream",
    "csv": "text/csv",
}
"""By format what a body is called."""

_FORMATS = {
    **{name: format_ for format_, name in MEDIA.items()},
    "application/x-msgpack": "msgpack",
    "application/vnd.msgpack": "msgpack",
    "application/x-ndjson": LINES,
    "application/ndjson": LINES,
    "application/jsonl": LINES,
    "application/x-jsonlines": LINES,
    # Names that clients give to whatever they are told to send.
    "application/octet-stream": _ANY,
    "application/x-www-form-urlencoded": _ANY,
    "text/plain": _ANY,
}
_CHARSETS = ("utf-8", "utf8", "us-ascii")


def format_of(content_type: str) -> str:
    """The format that a ``Content-Type`` tells: one of `MEDIA`, `LINES`, or ``auto`` where it tells none.

    Raises
    ------
    ValueError : it is none that can be read, in a clause

    Examples
    --------
    >>> format_of("application/json; charset=utf-8"), format_of("application/senml+cbor"), format_of("")
    ('json', 'cbor', 'auto')
    """
    if not content_type.strip():
        return _ANY
    told = Message()
    told["Content-Type"] = content_type
    name = told.get_content_type()
    if "/" not in content_type:  # the parser takes what it cannot read for text/plain
        raise ValueError(f"`{content_type[:100]}` is no content type")
    charset = str(told.get_param("charset", "utf-8")).lower()
    if charset not in _CHARSETS:
        raise ValueError(f"texts are UTF-8, not {charset[:40]}")
    found = _FORMATS.get(name)
    if found is None:
        suffix = name.rpartition("+")[2]
        found = suffix if suffix in ("json", "cbor", "msgpack") and "+" in name else None
    if found is None:
        known = ", ".join(MEDIA.values())
        raise ValueError(f"`{name[:100]}` cannot be read; there are {known}")
    return found


__all__ = ["LINES", "MEDIA", "format_of"]
