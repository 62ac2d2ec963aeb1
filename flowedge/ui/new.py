"""A first pipeline to begin from."""

import re
from pathlib import Path

from flowedge.lang.errors import RunError

FIRST = """# {name}: what it is for, in a line.
# It runs as it stands, on simulated thermometers; put your own source in place of the first statement.
source room from simulate.temperature(devices=3, seconds=10 min, seed=1)
    key device

stream minutes = room
    | where temperature > 0 degC
    | window 1 min
    | aggregate mean(temperature) as mean, max(temperature) as high, count() as n

sink minutes to arrow("out/{name}.arrow")
"""


def write(name: str) -> Path:
    """Write ``NAME.flow`` and return its path.

    Raises
    ------
    RunError
        the name is no plain file name, the file is there already, or it cannot be written
    """
    stem = name.removesuffix(".flow")
    if not re.fullmatch(r"[^\W\d][\w-]*", stem):
        raise RunError(
            f"`{name}` is no name for a pipeline; take letters, digits, `_` and `-`, a letter first"
        )
    path = Path(f"{stem}.flow")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(FIRST.format(name=stem))
    except FileExistsError:
        raise RunError(f"`{path}` is there already; choose another name") from None
    except OSError as error:
        raise RunError(f"cannot write `{path}`: {error.strerror}") from None
    return path
