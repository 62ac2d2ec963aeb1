"""What several commands do in the same way: plans, keys, files, and how mistakes are told."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowedge.lang.errors import FlowEdgeError
from flowedge.ui import options

if TYPE_CHECKING:
    from flowedge.runtime.plan import Plan


SHIPPED = ".flowc"
"""The end of the name of a compiled pipeline."""


def tell_error(error: FlowEdgeError) -> None:
    """Print what went wrong; of a pipeline all that is wrong with it."""
    from flowedge.lang.diagnostics import FlowError  # noqa: PLC0415

    if isinstance(error, FlowError):
        from flowedge.lang.render import render_all  # noqa: PLC0415

        count = sum(d.severity == "error" for d in error.diagnostics)
        print(render_all(error.diagnostics, styled(sys.stderr)), file=sys.stderr)
        print(f"{count} error{'s' if count != 1 else ''}", file=sys.stderr)
    else:
        print(f"error: {error}", file=sys.stderr)


def styled(stream: Any) -> Callable[[str, str], str]:  # noqa: ANN401
    """Colours for a terminal, none for a file or under NO_COLOR."""
    from flowedge.lang.render import plain  # noqa: PLC0415

    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return plain
    codes = {
        "error": "1;31",
        "warning": "1;33",
        "line": "34",
        "primary": "31",
        "other": "36",
        "note": "1",
    }
    return lambda kind, text: f"\x1b[{codes.get(kind, '0')}m{text}\x1b[0m"


def compiled(flow: Path, params: list[str] | None, **more: Any) -> "Plan":  # noqa: ANN401
    """The plan of a pipeline, with parameters as on the command line; raises FlowError, RunError."""
    from flowedge.runtime.plan import compile_flow  # noqa: PLC0415

    return compile_flow(flow, params=options.params_of(params), **more)


def tell(text: str) -> None:
    """Print what happened; that nobody reads it changes nothing."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def keys_of(sign: str | None, require: str | None) -> tuple[Any, Any]:
    """The key that signs, and the one that must have signed what is run; None where not asked for."""
    if sign is None and require is None:
        return None, None
    from flowedge.runtime.keys import PublicKey, SigningKey  # noqa: PLC0415

    wanted = None if require is None else PublicKey.of(require)
    return None if sign is None else SigningKey.of(sign), wanted


def require_signature(path: Path, key: Any, digest: str) -> None:  # noqa: ANN401  # a PublicKey, imported only where there is one
    """Raise DigestError unless a file is signed with a key."""
    from flowedge.runtime.keys import check_signed  # noqa: PLC0415

    check_signed(path, key, digest)


def write_text(path: Path, text: str) -> None:
    """Write a file, and the folders that it lies in; raises SinkError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        from flowedge.sinks.atomic import explained  # noqa: PLC0415

        raise explained(path, error) from None
