"""Inputs from seeds: bits, lengths, pieces cut, doubled and spliced. The same seed and number give the same input."""

import random
from typing import Any

import msgpack

WORDS = (
    b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\xff" * 8, b"\0" * 8, b"\xff" * 7 + b"\x7f", b"\0" * 5 + b"\1\0\0",
    b"\n", b",", b'"', b"1e999999", b"-", b"9" * 40, b"\xed\xa0\x80", b"\xdd\xff\xff\xff\xff", b"\xc7", b"[" * 40, b"(" * 250, b"{", b"nan",
)  # fmt: skip
"""What parsers stumble over: the ends of ranges, signs of lists and texts, numbers too large."""


def mutated(
    seeds: list[bytes], number: int, seed: int = 0, tokens: tuple[bytes, ...] = WORDS
) -> bytes:
    """Input `number`, made of the seeds by one to six changes."""
    draw = random.Random(f"{seed}:{number}")
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        _change(data, draw, seeds, tokens)
    return bytes(data)


def forged(seeds: list[bytes], number: int, seed: int = 0) -> bytes:
    """Input `number`: one of the seeds, msgpack, with one to three of the numbers in it changed.

    Bytes are taken for rows of words, so that most inputs stay well formed.
    """
    draw = random.Random(f"{seed}:{number}")
    value = msgpack.unpackb(draw.choice(seeds), strict_map_key=False)
    leaves = [(inside, key) for inside, key in _leaves(value) if inside[key] not in (b"", None)]
    memory = [(inside, key) for inside, key in leaves if isinstance(inside[key], bytes)]
    for _ in range(draw.choice((1, 1, 2, 3))):
        inside, key = draw.choice(draw.choice((memory, memory, memory, leaves)))
        inside[key] = _forged(inside[key], draw)
    return msgpack.packb(value)


def _leaves(value: Any) -> list[tuple[Any, Any]]:
    """(map or list, key) of all that holds nothing else."""
    out: list[tuple[Any, Any]] = []
    for key in value if isinstance(value, dict) else range(len(value)):
        found = value[key]
        out += _leaves(found) if isinstance(found, dict | list) else [(value, key)]
    return out


def _forged(value: Any, draw: random.Random) -> Any:
    if isinstance(value, bytes):
        size = draw.choice((1, 4, 8, 8, 8))
        at = draw.randrange(len(value)) // size * size
        old = int.from_bytes(value[at : at + size], "little", signed=True)
        word = _near(old, draw) % 256**size
        return value[:at] + word.to_bytes(size, "little")[: len(value) - at] + value[at + size :]
    if type(value) is int:
        return max(-(2**63), min(2**64 - 1, _near(value, draw)))
    return draw.choice((None, 0, -1, 2**63, 1.5, "x", b"x", [], {}, value))


def _near(value: int, draw: random.Random) -> int:
    """A number that an index is easily mistaken for: one more or less, the ends of ranges, a bit."""
    return draw.choice(
        (
            value + 1, value - 1, value + 2, -value, -1, 0, 1, 2, 3, 8, 16, 255, 2**15, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63),
            value ^ (1 << draw.randrange(63)), value + draw.randrange(-100, 100),
        )
    )  # fmt: skip


def _change(
    data: bytearray, draw: random.Random, seeds: list[bytes], tokens: tuple[bytes, ...]
) -> None:
    size = len(data)
    at = draw.randrange(size + 1)
    length = min(draw.choice((1, 2, 4, 8, 16, 64, 256)), size - at)
    match draw.randrange(9):
        case 0 if size:
            data[at % size] ^= 1 << draw.randrange(8)
        case 1 if size:
            data[at % size] = draw.randrange(256)
        case 2:
            word = draw.choice(tokens)
            data[at : at + len(word)] = word
        case 3:
            data[at:at] = draw.choice(tokens)
        case 4:
            del data[at : at + length]
        case 5:
            data[at:at] = data[at : at + length] * draw.choice((1, 1, 2, 30))
        case 6:
            other = draw.choice(seeds)
            begin = draw.randrange(len(other) + 1)
            data[at : at + length] = other[begin : begin + length]
        case 7:
            del data[at:]
        case _:
            width = draw.choice((1, 2, 4, 8))
            near = draw.choice(
                (0, 1, 127, 128, 255, 256, 65_535, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, size)
            )
            data[at : at + width] = (near % 256**width).to_bytes(
                width, draw.choice(("little", "big"))
            )
