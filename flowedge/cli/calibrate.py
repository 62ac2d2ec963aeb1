"""``flowedge calibrate``: what a pipeline costs on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from flowedge.cli.arguments import Classes, Flow, Params, Trusted
from flowedge.ui import options


def calibrate(
    flow: Flow,
    param: Params = None,
    as_recorded: Annotated[
        Path | None,
        typer.Option(
            help="Measure with the rows of a live run that `run --record` noted, instead of made-up ones.",
            metavar="FILE",
        ),
    ] = None,
    span: Annotated[
        str, typer.Option(help="How long to measure each size of a push, such as `4 s`.")
    ] = "4 s",
    trust_model: Trusted = None,
    allow_class: Classes = None,
) -> None:
    """Measure what a pipeline's stages cost on this machine; `explain` then tells which deadline can be promised here."""
    from flowedge.runtime.calibrate import calibrate as measure  # noqa: PLC0415
    from flowedge.runtime.models import Models, allowed  # noqa: PLC0415
    from flowedge.runtime.plan import compile_flow  # noqa: PLC0415
    from flowedge.ui.costs import table  # noqa: PLC0415

    plan = compile_flow(flow, params=options.params_of(param), passing=True)
    models = Models(
        plan.program, allowed(trust_model or (), allow_class or (), None), deadlines=False
    )
    try:
        found = measure(plan, models.by_name, as_recorded, options.duration(span, "--span"))
    finally:
        models.close()
    print("\n".join(table(found, plan.program)))
