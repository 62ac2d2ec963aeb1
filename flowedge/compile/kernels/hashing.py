"""A seeded hash of bytes and of whole numbers, and the comparison of bytes, by 8-byte loads.

Byte by byte a name of 15 bytes costs 56 ns and more; by words that overlap at the end, a few. The
hash follows wyhash (https://github.com/wangyi-fudan/wyhash). It is seeded, so that nobody who
chooses the keys can make them collide; nothing that is seen outside depends on it.
"""

from flowedge.compile.memory import fold, half, swap, u8, word

K0 = -0x5F89E29B87429BD1
K1 = -0x18FC812E5F4BD725
K2 = -0x71731AF46C39A84D
LOWEST = -(2**63)


def hash_word(value: int, seed: int) -> int:
    """A hash of one word."""
    return fold(value ^ K0, (seed ^ K1) | 1)


def hash_bytes(start: int, size: int, seed: int) -> int:
    """A hash of `size` bytes from address `start`; reads none beyond them."""
    mixed = fold(seed ^ K0, size ^ K1)
    if size >= 8:
        at = 0
        while at + 8 < size:
            mixed = fold(mixed ^ word(start + at), K1)
            at += 8
        tail = word(start + size - 8)
    elif size >= 4:
        tail = half(start) | (half(start + size - 4) << 32)
    elif size > 0:
        tail = u8(start, 0) | (u8(start, size >> 1) << 8) | (u8(start, size - 1) << 16)
    else:
        tail = 0
    return fold(mixed ^ tail, K2)


def equal_bytes(a: int, b: int, size: int) -> bool:
    """Whether `size` bytes at two addresses are the same."""
    if size >= 8:
        at = 0
        while at + 8 < size:
            if word(a + at) != word(b + at):
                return False
            at += 8
        return word(a + size - 8) == word(b + size - 8)
    if size >= 4:
        return half(a) == half(b) and half(a + size - 4) == half(b + size - 4)
    for at in range(size):  # noqa: SIM110  # a generator does not compile
        if u8(a, at) != u8(b, at):
            return False
    return True


def compare_bytes(a: int, size_a: int, b: int, size_b: int) -> int:
    """Negative, zero or positive as the first string of bytes stands before the second."""
    size = min(size_a, size_b)
    at = 0
    while at + 8 <= size:
        x = word(a + at)
        y = word(b + at)
        if x != y:
            # The first byte decides, so it must be the highest, without a sign.
            return -1 if (swap(x) ^ LOWEST) < (swap(y) ^ LOWEST) else 1
        at += 8
    while at < size:
        if u8(a, at) != u8(b, at):
            return u8(a, at) - u8(b, at)
        at += 1
    return size_a - size_b
