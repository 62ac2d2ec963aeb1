"""A model tried in a process that ends: ``python -m flowedge.models.trial FD``.

A runtime of machine code may crash on a file that looked right, or ask for more memory than there is. Here it does so
alone: in a process that has no files and no network, with bounds on memory and time, that loads the model and calls it once.
"""

import os
import resource
import subprocess
import sys

from flowedge.lang.errors import ModelError
from flowedge.models.channel import environment, holding

MOST_BYTES = 2**31
"""Address space of the process: the libraries, and the model."""
CPU_S = 20
LONGEST_S = 120.0


def attempt(data: bytes, path: str) -> None:
    """Load a LiteRT model and call it with zeros, elsewhere; raises ModelError where that fails."""
    held = holding(data)
    try:
        done = subprocess.run(  # noqa: S603  # our own module, in this very Python
            [sys.executable, "-m", "flowedge.models.trial", str(held), path],
            pass_fds=[held],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LONGEST_S,
            check=False,
            env=environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ModelError(f"model `{path}` did not answer when it was tried") from None
    finally:
        os.close(held)
    if done.returncode == 0:
        return
    told = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode == 1 and told:
        raise ModelError(told)
    why = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    raise ModelError(
        f"model `{path}` brought the runtime down when it was tried ({why}); export it again"
    )


def main(held: int, path: str) -> int:
    """What happens in the process: 0 if the model answers, 1 with a sentence if it is refused."""
    from flowedge.models.confine import confine  # noqa: PLC0415
    from flowedge.models.load import prepare  # noqa: PLC0415

    prepare("litert")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    data = os.pread(held, os.fstat(held).st_size, 0)
    confine()
    import numpy as np  # noqa: PLC0415

    from flowedge.models.litert import Session  # noqa: PLC0415

    try:
        session = Session(data, path)
        session([np.zeros([n or 1 for n in t.shape], t.dtype) for t in session.info.inputs])
    except ModelError as error:
        os.write(1, str(error).encode())
        return 1
    except MemoryError:
        os.write(1, f"model `{path}` asks for more memory than a model may have".encode())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
