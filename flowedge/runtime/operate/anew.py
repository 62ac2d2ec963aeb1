"""The process that checks and compiles another text of a pipeline: what to do comes as JSON, the plan goes into a file.

It gives way to the run, which goes on meanwhile: it is nicer by ten.
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import msgpack

from flowedge.compile import program as p
from flowedge.lang.diagnostics import FlowError
from flowedge.lang.errors import FlowEdgeError
from flowedge.lang.render import render_all
from flowedge.runtime.plan import compile_flow


def compiled(asked: dict[str, Any]) -> dict[str, Any]:
    """The plan as plain data, or what is wrong with the pipeline."""
    vet = None
    try:
        if asked["required"]:
            from flowedge.runtime.keys import PublicKey, check_signed  # noqa: PLC0415  # an extra

            key = PublicKey.of(asked["required"])

            def vet(path: Path, digest: str) -> None:
                check_signed(path, key, digest)

        plan = compile_flow(asked["flow"], params=asked["params"], vet=vet)
    except FlowError as error:
        return {"problem": render_all(error.diagnostics)}
    except FlowEdgeError as error:
        return {"problem": str(error)}
    return {"problem": "", "warnings": plan.warnings, "program": p.pack(plan.program)}


def main() -> None:
    """Read what to do, and do it."""
    with contextlib.suppress(
        OSError
    ):  # a run may have a real-time priority, which this has inherited
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.nice(10)
    out = Path(sys.argv[1])
    made = msgpack.packb(compiled(json.loads(sys.stdin.buffer.read())))
    part = out.with_suffix(".part")
    part.write_bytes(made)
    part.replace(out)


if __name__ == "__main__":
    main()
