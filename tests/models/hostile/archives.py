"""Ways to take the reader of an archive down, and to show each reader another one."""

import io
import pickle
import struct
import warnings
import zipfile
import zlib

from models.hostile.made import Case, Evil, archive, good

ENTRY = struct.Struct("<4s6H3I5H2I")
"""One member in the list at the archive's end."""
LOCAL = struct.Struct("<4s5H3I2H")
"""What stands before a member's bytes."""
END = struct.Struct("<4s4H2IH")


def archives(folder, marker):
    """All of them, as `.pt2`."""
    members = good(folder)
    plain = archive(members)
    deflated = zipfile.ZIP_DEFLATED
    yield Case(
        "a member that unpacks a thousandfold",
        archive({"net/models/model.json": b"\0" * 400_000_000}, method=deflated),
        "times its bytes: a zip bomb",
    )
    yield Case("ten gigabytes that are claimed", claimed(10 * 2**30), "unpacks to 4095 MiB")
    yield Case(
        "less that is claimed than comes", claimed(100, real=300_000_000), "damaged in its part"
    )
    yield Case("entries that share their bytes", overlapping(), "overlap")
    yield Case(
        "a way out of the archive", archive({"net/../../etc/passwd": b"x"}), "outside the archive"
    )
    yield Case("an absolute name", archive({"/etc/passwd": b"x"}), "outside the archive")
    yield Case("a name with a drive", archive({"net\\..\\passwd": b"x"}), "outside the archive")
    yield Case("two members of one name", duplicate(members), "twice")
    yield Case(
        "more members than a model has", archive({f"net/{i}": b"" for i in range(5000)}), "members"
    )
    yield Case("members that are encrypted", encrypted(plain), "encrypted")
    yield Case(
        "a name of letters that turn around",
        archive({"net/\u202emodels/model.json": b"{}"}),
        "of letters that are not shown",
    )
    yield Case(
        "a list of members that only Torch sees",
        two_lists(members, "sample_inputs/model.pt", pickle.dumps(Evil(marker))),
        "shows each reader another list",
        "torch.export",
    )
    yield Case("the rest of a torn archive before it", torn(members), "that belong to no member")
    for part in (1, 10, 50, 90, 99):
        yield Case(f"the first {part} %", plain[: len(plain) * part // 100], "breaks off after")
    yield Case("nothing", b"", "is an empty file")
    yield Case("a page", b"<!doctype html><title>404</title>", "is a page of the web")
    yield Case("a text", b"net.pt2", "known by its beginning")


def claimed(size, real=0):
    """A member whose directory says another size than it has."""
    data = bytearray(
        archive({"net/models/model.json": b"\0" * (real or 1000)}, method=zipfile.ZIP_DEFLATED)
    )
    where = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, where + 24, min(size, 2**32 - 2))
    return bytes(data)


def overlapping():
    """Two entries of the directory that point at one body."""
    body = zlib.compress(b"\0" * 100_000)[2:-4]
    told = (zlib.crc32(b"\0" * 100_000), len(body), 100_000, 5, 0)
    local = LOCAL.pack(b"PK\3\4", 20, 0, 8, 0, 0, *told) + b"net/a" + body
    entries = b"".join(
        ENTRY.pack(b"PK\1\2", 20, 20, 0, 8, 0, 0, *told, 0, 0, 0, 0, 0) + name
        for name in (b"net/a", b"net/b")
    )
    return local + entries + END.pack(b"PK\5\6", 0, 0, 2, 2, len(entries), len(local), 0)


def duplicate(members):
    """The graph, and another graph."""
    name = next(n for n in members if n.endswith("models/model.json"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return archive([*members.items(), (name, b"{}")])


def encrypted(data):
    """The flag of an encrypted member in every entry of the directory."""
    out = bytearray(data)
    for at in _entries(out):
        out[at + 8] |= 1
    return bytes(out)


def torn(members):
    """The end of one archive, and all of another, whose places fit."""
    out = bytearray(b"\0" * 64 + archive(members))
    for at in _entries(out):
        struct.pack_into("<I", out, at + 42, int.from_bytes(out[at + 42 : at + 46], "little") + 64)
    struct.pack_into("<I", out, len(out) - 6, int.from_bytes(out[-6:-2], "little") + 64)
    return bytes(out)


def two_lists(members, part, evil):
    """An archive whose end points past itself: Python corrects the place of the list, Torch reads another, with other bytes for a part."""
    data = archive(members)
    with zipfile.ZipFile(io.BytesIO(data)) as held:
        start = held.start_dir
    shown = bytearray(data[start : -END.size])
    hidden = bytearray(shown)
    name = next(n for n in members if n.endswith(part)).encode()
    at, told = hidden.index(name) - ENTRY.size, (zlib.crc32(evil), len(evil), len(evil))
    struct.pack_into("<3I", hidden, at + 16, *told)
    struct.pack_into("<I", hidden, at + 42, start)
    front = data[:start] + LOCAL.pack(b"PK\3\4", 20, 0, 0, 0, 0, *told, len(name), 0) + name + evil
    behind = len(shown) + END.size
    for at in _entries(shown):
        struct.pack_into(
            "<I", shown, at + 42, int.from_bytes(shown[at + 42 : at + 46], "little") + behind
        )
    n = len(members)
    end = END.pack(b"PK\5\6", 0, 0, n, n, len(shown), len(front) + behind, len(hidden))
    return bytes(front + shown + end + hidden)


def _entries(data):
    at = data.find(b"PK\1\2")
    while at >= 0:
        yield at
        at = data.find(b"PK\1\2", at + 4)
