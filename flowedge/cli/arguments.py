"""Arguments that several commands take, said once."""

from pathlib import Path
from typing import Annotated

import typer

Flow = Annotated[Path, typer.Argument(help="The .flow file.", show_default=False)]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "-p", "--param", help="Give a `param` another value: NAME=VALUE. May be repeated."
    ),
]
Trusted = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-model",
        help="Run a model that is a program (TorchScript, AOTInductor) if it has this sha256, or is signed with this public key. May be repeated.",
        metavar="DIGEST|PUBLIC",
    ),
]
Classes = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-class",
        help="Import this class for the weights of a .safetensors model. May be repeated.",
        metavar="MODULE:CLASS",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
