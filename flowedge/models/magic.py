"""What bytes are by their beginning, for a sentence about a file that is not what it should be."""

PICKLE = "a pickle, which runs what it names when it is read"
_KINDS = (
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "a zip archive without parts"),
    (0, b"\x7fELF", "machine code"),
    (0, b"\x1f\x8b", "a file packed by gzip"),
    (0, b"\x89HDF\r\n", "an HDF5 file, as of Keras"),
    (0, b"version https://git-lfs", "a pointer of Git LFS (git lfs pull fetches what it points to)"),
    (0, b"<", "a page of the web"),
    (4, b"TFL3", "a LiteRT model"),
)  # fmt: skip


def kind_of(data: bytes) -> str:
    """A noun with its article, such as "machine code"; empty: nothing that is known.

    A pickle of protocol 2 and later is known by its first two bytes; those before have no mark.
    """
    if is_pickle(data):
        return PICKLE
    return next((kind for at, mark, kind in _KINDS if data.startswith(mark, at)), "")


def is_pickle(data: bytes) -> bool:
    """Whether bytes begin as a pickle of protocol 2 and later: PROTO and its number."""
    return data[:1] == b"\x80" and data[1:2] in (b"\2", b"\3", b"\4", b"\5")
