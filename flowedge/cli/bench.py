"""``flowedge bench``: where the time of a run goes."""

from typing import Annotated

import typer

from flowedge.cli.arguments import Classes, Flow, Params, Trusted
from flowedge.cli.shared import compiled


def bench(
    flow: Flow,
    param: Params = None,
    rounds: Annotated[int, typer.Option(help="How many runs.", min=1)] = 3,
    trust_model: Trusted = None,
    allow_class: Classes = None,
) -> None:
    """Run a pipeline over its recordings, outputs and all, and tell where the time goes: reading, each stage, writing."""
    from flowedge.runtime.bench import bench as measure  # noqa: PLC0415
    from flowedge.runtime.models import allowed  # noqa: PLC0415
    from flowedge.ui.bench import table  # noqa: PLC0415

    plans = compiled(flow, param), compiled(flow, param, fuse=False)
    found = measure(*plans, rounds, allowed(trust_model or (), allow_class or (), None))
    print("\n".join(table(found)))
