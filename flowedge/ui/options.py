"""What the options of the command line say, as values; what they cannot say is a usage error."""

import typer


def params_of(given: list[str] | None) -> dict[str, str]:
    """Values of ``param`` by name, from NAME=VALUE."""
    out = {}
    for item in given or []:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"`{item}` is not NAME=VALUE")
        out[name] = value
    return out


def duration(text: str, option: str = "--every") -> float:
    """Seconds of a duration such as `10 s`; without pint, which a warm start does not import."""
    units = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyz ")
    try:
        value = float(number) * units[text.strip()[len(number) :].strip() or "s"]
    except (ValueError, KeyError):
        value = -1.0
    if not 0 < value < float("inf"):
        raise typer.BadParameter(
            f"`{text}` is no duration; give one such as `10 s`", param_hint=option
        )
    return value


def size(text: str | None) -> int | None:
    """Bytes of a size."""
    from flowedge.types.sizes import parse_size  # noqa: PLC0415

    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--max-memory") from None


def speed(text: str) -> float | None:
    """A multiple of real time; None for as fast as possible."""
    if text == "max":
        return None
    try:
        value = float(text.removesuffix("x"))
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise typer.BadParameter(
            f"`{text}` is no speed; give `max`, `1x` or `10x`", param_hint="--speed"
        )
    return value


def address(text: str | None) -> tuple[str, int] | None:
    """Where a run serves what it tells of itself."""
    if text is None:
        return None
    from flowedge.runtime.operate.server import address_of  # noqa: PLC0415  # only those who ask

    try:
        return address_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--metrics") from None


def log(kind: str | None, level: str) -> None:
    """Refuse what is no kind of lines, and no level of them."""
    if kind not in (None, "text", "json"):
        raise typer.BadParameter(f"`{kind}` is none; give `text` or `json`", param_hint="--log")
    levels = ("debug", "info", "warning", "error")
    if level not in levels:
        raise typer.BadParameter(
            f"`{level}` is none; give one of {', '.join(levels)}", param_hint="--log-level"
        )


def numbers(text: str | None) -> tuple[int, ...]:
    """Numbers of processors, such as `1`, `0,2` or `2-3`; none: empty."""
    out: list[int] = []
    for part in text.split(",") if text is not None else ():
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        if not all(e.isascii() and e.isdigit() and len(e) < 5 for e in ends) or int(ends[0]) > int(ends[1]):  # fmt: skip
            raise typer.BadParameter(
                f"`{text}` names no processors; give `1`, `0,2` or `2-3`", param_hint="--cpu"
            )
        out += range(int(ends[0]), int(ends[1]) + 1)
    return tuple(out)
