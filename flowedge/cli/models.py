"""``flowedge model``: what a network takes and gives, and whether it is the one that was signed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

models = typer.Typer(no_args_is_help=True, help="Show models, sign them, and check signatures.")

Files = Annotated[
    list[Path],
    typer.Argument(help="Models: .pt2, .safetensors, .onnx, .tflite, TorchScript archives."),
]


@models.command("info")
def info(files: Files) -> None:
    """Show inputs, outputs, labels, units, rate and digest; nothing of a model is run."""
    from flowedge.ui.models import describe  # noqa: PLC0415

    for file in files:
        print(describe(file))


@models.command("sign")
def sign(
    files: Files,
    key: Annotated[str, typer.Option(help="The key: a file, env:NAME or credential:NAME.")],
) -> None:
    """Sign models, and the manifests beside them; each signature lies beside its file, as FILE.sig."""
    from flowedge.runtime.keys import SigningKey, sign_file  # noqa: PLC0415

    signing = SigningKey.of(key)
    for file in _with_manifests(files):
        print(f"wrote {sign_file(file, signing)}")


@models.command("verify")
def verify(
    files: Files,
    key: Annotated[
        str,
        typer.Option(help="The public key that must have signed: its file, or its name in base64."),
    ],
) -> None:
    """Tell whether models, and the manifests beside them, are as they were signed; exit code 5 if not."""
    from flowedge.runtime.keys import PublicKey, check_signed  # noqa: PLC0415

    wanted = PublicKey.of(key)
    for file in _with_manifests(files):
        check_signed(file, wanted)
        print(f"{file}: as it was signed by {wanted.name}")


@models.command("swap")
def swap(
    state: Annotated[
        Path, typer.Argument(help="The directory that the run was given as --checkpoint.")
    ],
    name: Annotated[str, typer.Argument(help="The model's name in the pipeline.")],
    file: Annotated[Path, typer.Argument(help="The file that takes its place.")],
    wait_s: Annotated[
        float, typer.Option("--wait", help="So long the run has to answer [s].")
    ] = 60.0,
) -> None:
    """Let a run go on with another model, at a checkpoint; windows and what is remembered stay as they are."""
    from flowedge.runtime.swap import swap_model  # noqa: PLC0415

    print(swap_model(state, name, file, wait_s))


def _with_manifests(files: list[Path]) -> Iterator[Path]:
    from flowedge.models.manifest import beside  # noqa: PLC0415

    for file in files:
        yield file
        told = beside(file)
        if told is not None:
            yield told
