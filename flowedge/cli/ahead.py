"""``flowedge compile``: machine code ahead of time."""

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from flowedge.cli.arguments import Flow, Params
from flowedge.cli.shared import SHIPPED
from flowedge.ui import options


def compile_(
    flow: Flow,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="The file; by default FLOW.flowc beside it.", metavar="FILE"
        ),
    ] = None,
    param: Params = None,
) -> None:
    """Compile a pipeline into a file that `run` starts from at once, on machines with such a processor and this version."""
    from flowedge.runtime.shipped import ship  # noqa: PLC0415
    from flowedge.sinks.atomic import replace  # noqa: PLC0415

    target = flow.with_suffix(SHIPPED) if out is None else out
    if target.suffix != SHIPPED:
        raise typer.BadParameter(f"`{target}` should end in {SHIPPED}", param_hint="-o")
    data, kernels = ship(flow, options.params_of(param))
    replace(target, data)
    print(
        f"wrote {target}: {kernels} kernels, {len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}"
    )
