"""``flowedge windows``: the frames that a model would see, with labels, to train it on."""

from pathlib import Path
from typing import Annotated

import typer

from flowedge.cli.arguments import Classes, Flow, Params, Quiet, Trusted
from flowedge.ui import options


def windows(
    flow: Flow,
    stream: Annotated[
        str,
        typer.Option(
            help="A stream or a sink: the frames in front of the last `classify with` of its chain, or its own.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="The file to write: .arrow or .parquet.", show_default=False
        ),
    ],
    param: Params = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Join labels: a stream of the pipeline and its column, such as `truth.label`. A label holds until "
            "the next row (or the `end` of its row), and a frame has the one of most samples.",
            metavar="STREAM.COLUMN",
        ),
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(
            help="The labels are of events: take the nearest one, so far away at most, such as `150 ms`.",
            metavar="DURATION",
        ),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="Where there is no `classify with` yet: the columns that the model is going to take, such as `acc,gyro`.",
            metavar="COLUMNS",
        ),
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Leave the model's file and its manifest aside, as if there were none."
        ),
    ] = False,
    trust_model: Trusted = None,
    allow_class: Classes = None,
    quiet: Quiet = False,
) -> None:
    """Write the frames that a model would see, with labels, to train it on.

    The model's file need not be there yet. Read what was written with `flowedge.torch.FrameDataset`.
    """
    from flowedge.runtime.models import allowed  # noqa: PLC0415
    from flowedge.runtime.windows import KINDS, write  # noqa: PLC0415

    if out.suffix.lower() not in KINDS:
        raise typer.BadParameter(
            f"`{out}` ends in no known way; give a name that ends in {' or '.join(KINDS)}",
            param_hint="-o",
        )
    if {"{", "}"} & set(str(out)):
        raise typer.BadParameter(f"`{out}` has braces in it; give a plain name", param_hint="-o")
    if within is not None and labels is None:
        raise typer.BadParameter("it says how near labels are; give --labels too", param_hint="--within")  # fmt: skip
    report, made = write(
        flow, stream=stream, out=out, params=options.params_of(param), labels=labels, within=within,
        inputs=tuple(x.strip() for x in inputs.split(",") if x.strip()) if inputs is not None else (),
        fresh=fresh, trusted=allowed(trust_model or (), allow_class or ()),
    )  # fmt: skip
    if not quiet:
        from flowedge.ui.windows import summary  # noqa: PLC0415

        print(summary(report, made))
