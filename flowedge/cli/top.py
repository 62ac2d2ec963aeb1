"""``flowedge top``: what runs do, live."""

import time
from typing import Annotated

import typer

from flowedge.lang.errors import RunError
from flowedge.ui import options


def top(
    run: Annotated[
        str | None,
        typer.Argument(
            help="Which run: its address (`:9464`), its process, or the name of its pipeline; the only one by default.",
            metavar="RUN",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one page, and leave.")] = False,
    every: Annotated[str, typer.Option(help="Time between two looks.")] = "1 s",
) -> None:
    """Show what a run does: sources with their lag, nodes with their rates, sinks with their latency, and what was lost.

    The run serves it: it was started with `--metrics`.
    """
    from rich.console import Console  # noqa: PLC0415

    from flowedge.ui.top import Page, ask, find  # noqa: PLC0415

    every_s = options.duration(every)
    url = find(run)
    page = Page(url)
    console = Console()
    if once:
        console.print(page.drawn(ask(url)))
        return
    if not console.is_terminal:
        raise typer.BadParameter("a live page needs a terminal; say `--once`")
    from rich.live import Live  # noqa: PLC0415

    with Live(page.drawn(ask(url)), console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(every_s)
                try:
                    live.update(page.drawn(ask(url)), refresh=True)
                except RunError as error:
                    live.update(page.lost(str(error)), refresh=True)
        except KeyboardInterrupt:
            return
