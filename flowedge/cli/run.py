"""``flowedge run``: a pipeline over its sources, watched from outside if that is wanted."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowedge.cli.arguments import Classes, Flow, Params, Quiet, Trusted
from flowedge.cli.shared import SHIPPED, compiled, keys_of, require_signature, tell, write_text
from flowedge.lang.errors import FlowEdgeError
from flowedge.ui import options

if TYPE_CHECKING:
    from flowedge.runtime.operate.monitor import Monitor
    from flowedge.runtime.report import Report


def run(
    flow: Flow,
    param: Params = None,
    speed: Annotated[
        str, typer.Option(help="`max`, or a multiple of real time such as `1x` or `10x`.")
    ] = "max",
    report: Annotated[
        Path | None, typer.Option(help="Write the report as JSON to this file.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Keep the state in this directory; a run that was killed goes on from it.",
            metavar="DIR",
        ),
    ] = None,
    every: Annotated[
        str, typer.Option(help="Time between checkpoints, such as `10 s` or `1 min`.")
    ] = "10 s",
    record: Annotated[
        Path | None,
        typer.Option(
            help="Note all that enters in this file, so that a live run can be done again.",
            metavar="FILE",
        ),
    ] = None,
    as_recorded: Annotated[
        Path | None,
        typer.Option(
            help="Do a run again as `--record` noted it, in the place of its sources: the same rows.",
            metavar="FILE",
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            help="2: read ahead on a thread; 3: also write behind on one, and share heavy work. Same rows.",
            min=1,
        ),
    ] = 1,
    max_memory: Annotated[
        str | None,
        typer.Option(
            help="What the run may hold, such as `512MB`; over it, it stops safely. No bound by default.",
            metavar="SIZE",
        ),
    ] = None,
    ui: Annotated[
        bool, typer.Option("--ui", help="Show a live page: sources, streams, sinks, latencies.")
    ] = False,
    discard_state: Annotated[
        list[str] | None,
        typer.Option(
            help="Where the pipeline has changed since the checkpoint: a stage, stream or sink whose state is given up; `*` for all. May be repeated.",
            metavar="NODE",
        ),
    ] = None,
    sign: Annotated[
        str | None,
        typer.Option(
            help="Sign the lists of output files and authenticate checkpoints with the key in this file (or env:NAME, credential:NAME).",
            metavar="KEY",
        ),
    ] = None,
    require_signed: Annotated[
        str | None,
        typer.Option(
            help="Run only if the pipeline, its imports and its models are signed with this public key.",
            metavar="PUBLIC",
        ),
    ] = None,
    trust_model: Trusted = None,
    allow_class: Classes = None,
    trust_kernels: Annotated[
        list[str] | None,
        typer.Option(
            help="Run a compiled pipeline (.flowc) if it has this sha256, or is signed with this public key. May be repeated.",
            metavar="DIGEST|PUBLIC",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Serve /metrics, /health, /ready and /status here: `:9464` for this machine alone, `0.0.0.0:9464` for all.",
            metavar="ADDRESS",
        ),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            help="Tell what happens on standard error, a line each: `text` or `json`. No line is told for rows.",
            metavar="KIND",
        ),
    ] = None,
    log_level: Annotated[
        str, typer.Option(help="The least that is told: `debug`, `info`, `warning` or `error`.")
    ] = "info",
    cpu: Annotated[
        str | None,
        typer.Option(help="Processors that the run may use, such as `1` or `2-3`.", metavar="LIST"),
    ] = None,
    fifo: Annotated[
        int,
        typer.Option(
            help="Real-time priority (SCHED_FIFO), 1 to 99; needs the right to it.", min=0, max=99
        ),
    ] = 0,
    lock_memory: Annotated[
        bool,
        typer.Option("--lock-memory", help="Keep all pages in memory; needs the right to it."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Run a pipeline, or what `compile` made of one, over its sources until they end."""
    pace, every_s, most = options.speed(speed), options.duration(every), options.size(max_memory)
    address, processors = options.address(metrics), options.numbers(cpu)
    options.log(log, log_level)
    if record is not None and as_recorded is not None:
        raise typer.BadParameter("what is done again is recorded already", param_hint="--record")
    if flow.suffix == SHIPPED and param:
        raise typer.BadParameter(
            "what is compiled has its parameters already", param_hint="--param"
        )
    if flow.suffix != SHIPPED and trust_kernels:
        raise typer.BadParameter(f"`{flow}` is compiled here", param_hint="--trust-kernels")
    if ui and not sys.stderr.isatty():
        raise typer.BadParameter("a live page needs a terminal", param_hint="--ui")
    if ui and log is not None:
        raise typer.BadParameter("a live page leaves no room for lines", param_hint="--log")
    with _told(log, log_level, str(flow)):
        from flowedge.runtime.models import allowed  # noqa: PLC0415
        from flowedge.runtime.operate.events import say  # noqa: PLC0415
        from flowedge.runtime.operate.reload import Recompile  # noqa: PLC0415
        from flowedge.runtime.realtime import RealTime  # noqa: PLC0415
        from flowedge.runtime.run import Run  # noqa: PLC0415

        key, wanted = keys_of(sign, require_signed)
        vet = (
            None
            if wanted is None
            else (lambda path, digest: require_signature(path, wanted, digest))
        )
        if flow.suffix == SHIPPED:
            from flowedge.runtime.shipped import load  # noqa: PLC0415

            plan = load(flow, allowed(trust_kernels or (), (), wanted), vet)
        else:
            plan = compiled(flow, param, vet=vet, passing=True)
        if plan.warnings and log is not None:
            say("warning", text=plan.warnings)
        elif plan.warnings and not quiet:
            print(plan.warnings, file=sys.stderr)
        shown = _shown(flow, ui=ui, quiet=quiet or log is not None)
        again = None
        if flow.suffix != SHIPPED:
            again = Recompile(
                str(flow), options.params_of(param), "" if wanted is None else wanted.name
            )
        with _watched(str(flow), address, is_logged=log is not None) as monitor:
            task = Run(
                plan, allowed(trust_model or (), allow_class or (), wanted), shown.update if shown else None, speed=pace, threads=threads,
                checkpoint=checkpoint, every_s=every_s, key=key, discard=tuple(discard_state or ()),
                max_memory=most, name=str(flow), record=record, as_recorded=as_recorded, monitor=monitor, again=again,
                real_time=RealTime(processors, fifo, lock_memory),
            )  # fmt: skip
            say("start", version=monitor.status.version, pipeline=plan.program.digest, checkpoint=str(checkpoint or ""))  # fmt: skip
            try:
                _run(task, quiet=quiet)
            finally:
                if shown is not None:
                    shown.close()
                if report is not None:
                    write_text(report, task.report.as_json())


def _run(task: Any, *, quiet: bool) -> None:  # noqa: ANN401  # a Run, imported only when it is needed
    """Run it, and sum up; raises RunError, Interrupted."""
    from flowedge.runtime.ending import Ended, Interrupted  # noqa: PLC0415
    from flowedge.runtime.operate.events import say  # noqa: PLC0415
    from flowedge.ui.progress import summary  # noqa: PLC0415

    report: Report = task.report
    stopped: Interrupted | None = None
    try:
        task()
    except Interrupted as stop:
        stopped = stop
    out = sum(s.rows for s in report.sinks.values())
    say(
        "stop",
        rows_in=report.rows_in,
        rows_out=out,
        wall_s=round(report.wall_s, 3),
        why=str(stopped or ""),
    )
    if not quiet and (stopped is None or isinstance(stopped, Ended)):
        tell(summary(report))
    if stopped is not None:
        raise stopped


def _shown(flow: Path, *, ui: bool, quiet: bool) -> Any:  # noqa: ANN401  # a page, a bar, or nothing
    """What shows on the terminal how far the run is."""
    if ui:
        from flowedge.ui.page import Page  # noqa: PLC0415  # brings rich

        return Page(str(flow))
    if sys.stderr.isatty() and not quiet:
        from flowedge.ui.progress import Bar  # noqa: PLC0415

        return Bar()
    return None


@contextlib.contextmanager
def _watched(flow: str, address: tuple[str, int] | None, *, is_logged: bool) -> "Iterator[Monitor]":
    """What watches the run, and serves what it sees where that is wanted; raises RunError."""
    from flowedge.runtime.operate.monitor import Monitor  # noqa: PLC0415
    from flowedge.runtime.operate.notify import Supervisor  # noqa: PLC0415

    with contextlib.ExitStack() as stack:
        monitor = Monitor(
            flow, supervisor=Supervisor(), is_watched=is_logged or address is not None
        )
        stack.callback(monitor.close)
        if address is not None:
            from flowedge.runtime.operate.events import say  # noqa: PLC0415
            from flowedge.runtime.operate.server import Port  # noqa: PLC0415  # brings http.server
            from flowedge.runtime.operate.whereabouts import Whereabouts, listed  # noqa: PLC0415

            port = Port(*address, monitor)
            stack.callback(port.close)
            stack.enter_context(listed(Whereabouts(monitor.status.pid, flow, port.url)))
            say("metrics", url=port.url)
        yield monitor


@contextlib.contextmanager
def _told(log: str | None, level: str, flow: str) -> Iterator[None]:
    """Tell events on standard error, and of what goes wrong nothing but its event."""
    if log is None:
        yield
        return
    from flowedge.runtime.ending import Interrupted  # noqa: PLC0415
    from flowedge.runtime.operate.events import logged, say  # noqa: PLC0415

    with logged(log, level, flow):
        try:
            yield
        except Interrupted as stop:  # which `stop` has told
            sys.exit(stop.exit_code)
        except FlowEdgeError as error:
            say("failed", why=str(error), exit_code=error.exit_code)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            say("failed", why="interrupted", exit_code=130)
            sys.exit(130)
        except OSError as error:
            say("failed", why=str(error), exit_code=3)
            sys.exit(3)
