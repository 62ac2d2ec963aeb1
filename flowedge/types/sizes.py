"""Sizes of memory as people write them: ``64 MB``, ``1.5 GiB``."""

import re

SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
"""Bytes of each unit, in capitals."""


def parse_size(text: str) -> int:
    """Bytes of a size as it is written.

    Raises
    ------
    ValueError
        it is none

    Examples
    --------
    >>> parse_size("512MB"), parse_size("1.5 GiB")
    (512000000, 1610612736)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", text)
    size = SIZES.get(found.group(2).upper()) if found else None
    if found is None or size is None or float(found.group(1)) == 0:
        message = f"`{text.strip()}` is no size; give for example `512MB`"
        raise ValueError(message)
    return round(float(found.group(1)) * size)


def shown_bytes(count: float) -> str:
    """A size for a reader.

    Examples
    --------
    >>> shown_bytes(64e6), shown_bytes(1500)
    ('64 MB', '1.5 kB')
    """
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count:.0f} B"
