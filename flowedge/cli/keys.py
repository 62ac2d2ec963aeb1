"""``flowedge key``: keys, and signatures of the files that a run is made of."""

from pathlib import Path
from typing import Annotated

import typer

keys = typer.Typer(no_args_is_help=True, help="Make keys, and sign pipelines and models with them.")


@keys.command("new")
def new(
    name: Annotated[Path, typer.Argument(help="The file; it must not be there yet.")],
    encryption: Annotated[
        bool, typer.Option("--encryption", help="A key that encrypts Parquet, not one that signs.")
    ] = False,
) -> None:
    """Make a key that signs (and NAME.pub, to check with), or one that encrypts."""
    from flowedge.runtime.keys import new_encryption_key, new_signing_key  # noqa: PLC0415

    if encryption:
        new_encryption_key(name)
        print(f'wrote {name}; use it in a pipeline: encrypt=secret("file:{name}")')
        return
    public = new_signing_key(name)
    print(f"wrote {name} (keep it secret) and {name}.pub: {public}")


@keys.command("sign")
def sign(
    files: Annotated[list[Path], typer.Argument(help="Pipelines, imported files, models.")],
    key: Annotated[str, typer.Option(help="The key: a file, env:NAME or credential:NAME.")],
) -> None:
    """Sign files; each signature lies beside its file, as FILE.sig."""
    from flowedge.runtime.keys import SigningKey, sign_file  # noqa: PLC0415

    signing = SigningKey.of(key)
    for file in files:
        print(f"wrote {sign_file(file, signing)}")
