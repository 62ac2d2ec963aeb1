"""Which format a payload has, told from its first bytes.

The readings of msgpack, JSON and CBOR are maps or lists, so that most first bytes can be only one of them.
Bytes 0x80 to 0x9f begin a small map or list of msgpack and a list of CBOR as well, and no number of further
bytes decides for sure: they are msgpack. A list of CBOR is told by the tag 55799, with which RFC 8949 (3.4.6)
lets CBOR say what it is, or the format is named.
"""

from typing import Literal, get_args

from flowedge.sources.payloads.bounds import PayloadError

Format = Literal["auto", "msgpack", "json", "cbor", "arrow", "csv"]
FORMATS: tuple[str, ...] = get_args(Format)
SELF_DESCRIBED = b"\xd9\xd9\xf7"
_CONTINUES = b"\xff\xff\xff\xff"
_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
_FRONT = 64
"""Blanks that may stand before a text."""


def format_of(payload: bytes) -> Format:
    """The format of a payload.

    ================================  =======
    it begins with
    ================================  =======
    80 … 9f, dc … df                  msgpack
    a0 … bb, bf, d9 d9 f7             cbor
    ff ff ff ff                       arrow
    ``{`` or ``[``, behind blanks     json
    any other visible ASCII           csv
    ================================  =======

    Blanks are spaces, tabs and line ends, at most 64; the mark EF BB BF may stand before them.

    Raises
    ------
    PayloadError : none of them begins so

    Examples
    --------
    >>> format_of(bytes.fromhex("81a17601")), format_of(bytes.fromhex("a1617601")), format_of(b'{"v": 1}'), format_of(b"1,2")
    ('msgpack', 'cbor', 'json', 'csv')
    """
    if not payload:
        raise PayloadError("it is empty")
    first = payload[0]
    if 0x80 <= first <= 0x9F or 0xDC <= first <= 0xDF:
        return "msgpack"
    if 0xA0 <= first <= 0xBB or first == 0xBF or payload[:3] == SELF_DESCRIBED:
        return "cbor"
    if payload[:4] == _CONTINUES:
        return "arrow"
    begin = 3 if payload[:3] == _BOM else 0
    text = payload[begin : begin + _FRONT + 1].lstrip(_BLANK)
    if text[:1] in (b"{", b"["):
        return "json"
    if text and 0x20 < text[0] < 0x7F:
        return "csv"
    raise PayloadError(f"it begins with {payload[:4].hex(' ')}, as no format does")
