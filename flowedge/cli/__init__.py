"""The command line: ``flowedge run``, ``check``, ``explain``, ``inspect``, ``verify``, ``key``, ``model``, ``windows``, ``bench``, ``compile``, ``service``, ``top`` and more."""

import contextlib
import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from flowedge import __version__
from flowedge.cli.ahead import compile_
from flowedge.cli.arguments import Flow, Params
from flowedge.cli.bench import bench
from flowedge.cli.calibrate import calibrate
from flowedge.cli.keys import keys
from flowedge.cli.models import models
from flowedge.cli.run import run
from flowedge.cli.service import service
from flowedge.cli.shared import compiled, keys_of, styled, tell_error, write_text
from flowedge.cli.top import top
from flowedge.cli.windows import windows
from flowedge.lang.errors import FlowEdgeError, RunError
from flowedge.ui import options

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="FlowEdge: check, compile and run sensor pipelines written in .flow files.",
    epilog="Exit codes: 0 done, 1 the pipeline is wrong, 2 bad usage, 3 the run failed, 4 another run holds the "
    "state, 5 a digest or signature does not match, 130 interrupted.",
)  # fmt: skip


_YOUNG = 50_000
"""New objects before garbage is looked for: modules make hundreds of thousands, and leave none."""


def main() -> None:
    """Entry point of the console script."""
    gc.set_threshold(_YOUNG)
    try:
        _main()
    except SystemExit as leave:
        timed = sys.modules.get("flowedge.runtime.timed")
        if timed is not None and timed.is_left_behind():
            # Python would abort at the thread that is still inside the model.
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(leave.code if isinstance(leave.code, int) else 0)
        raise


def _main() -> None:
    """Run the command; every expected problem ends in one sentence and its exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C, from the first moment
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        code = app(standalone_mode=False)
        if code == 130:  # what typer makes of Ctrl-C
            print("interrupted", file=sys.stderr)
        sys.exit(code if isinstance(code, int) else 0)
    except FlowEdgeError as error:
        tell_error(error)
        sys.exit(error.exit_code)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    except (KeyboardInterrupt, typer.Abort):  # before a run began, or a second time
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if hasattr(error, "show") and hasattr(
            error, "exit_code"
        ):  # a usage error; typer brings its own click
            error.show()
            sys.exit(2)
        if isinstance(error, OSError):
            print(
                f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "),
                file=sys.stderr,
            )
            sys.exit(3)
        if os.environ.get("FLOWEDGE_TRACEBACK"):
            raise
        print(f"error: {_unforeseen(error)}", file=sys.stderr)
        sys.exit(3)


def _unforeseen(error: Exception) -> str:
    """One sentence for what no one thought of; the whole story comes with FLOWEDGE_TRACEBACK=1."""
    if isinstance(error, MemoryError):
        return "out of memory; take shorter windows or fewer keys, or a machine with more of it"
    if isinstance(error, RecursionError):
        return "the pipeline has too long a chain of stages, or too deep an expression; divide it"
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" ({Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno})" if place else ""
    return (
        f"internal error: {type(error).__name__}: {error}{where}; please report it with the pipeline "
        f"and version {__version__} (FLOWEDGE_TRACEBACK=1 shows all of it)"
    )


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.")
    ] = False,
) -> None:
    if version:
        print(f"flowedge {__version__}")
        raise typer.Exit


app.command("run")(run)


@app.command()
def check(
    flows: Annotated[
        list[Path] | None, typer.Argument(help="The .flow files.", show_default=False)
    ] = None,
    param: Params = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Fail if the state or the delay may be above this, for example 64MB,20ms."
        ),
    ] = None,
    format: Annotated[str, typer.Option(help="`text` or `json`.")] = "text",  # noqa: A002  # the option's name
    explain: Annotated[
        str | None, typer.Option(help="Print the manual page of a diagnostic, for example FE403.")
    ] = None,
) -> None:
    """Check pipelines without running them: types, units, rates, names, deadlines."""
    if explain is not None:
        _explain_code(explain)
        return
    if not flows:
        raise typer.BadParameter("give a .flow file, or --explain CODE")
    if format not in ("text", "json"):
        raise typer.BadParameter(
            f"`{format}` is no format; give `text` or `json`", param_hint="--format"
        )
    from flowedge.graph.budget import parse_budget  # noqa: PLC0415
    from flowedge.lang.diagnostics import FlowError  # noqa: PLC0415
    from flowedge.lang.render import render_all  # noqa: PLC0415
    from flowedge.runtime.plan import check_flow  # noqa: PLC0415

    try:
        allowed = None if budget is None else parse_budget(budget)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--budget") from None

    found, wrong = [], 0
    for flow in flows:
        try:
            told = check_flow(flow, options.params_of(param), allowed)
        except FlowError as error:
            told = list(error.diagnostics)
        found += told
        wrong += sum(d.severity == "error" for d in told)
    if format == "json":
        print(json.dumps([d.as_json() for d in found], indent=2, ensure_ascii=False))
    else:
        if found:
            print(render_all(found, styled(sys.stdout)))
        warned = len(found) - wrong
        print(f"{wrong} error{'s' * (wrong != 1)}, {warned} warning{'s' * (warned != 1)}")
    if wrong:
        raise typer.Exit(1)


def _explain_code(code: str) -> None:
    import flowedge.graph.budget  # noqa: PLC0415  # their rules register themselves
    import flowedge.graph.check  # noqa: PLC0415
    import flowedge.lang.rules  # noqa: F401, PLC0415
    from flowedge.lang.diagnostics import Rule, nearest, page  # noqa: PLC0415

    text = page(code)
    if text is None:
        near = nearest(code.upper(), Rule.known)
        raise typer.BadParameter(
            f"there is no diagnostic `{code}`" + (f"; did you mean {near}?" if near else "")
        )
    print(f"{code.upper()}\n\n{text}")


@app.command()
def explain(
    flow: Flow,
    param: Params = None,
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Print the generated source of every kernel.")
    ] = False,
) -> None:
    """Say what a pipeline will do before anything runs: shapes, rates, units, kernels, state, delay."""
    plan = compiled(flow, param)
    if plan.warnings:
        print(plan.warnings, file=sys.stderr)
    print(plan.kernels() if kernels else plan.explain())
    if not kernels:
        from flowedge.runtime.calibrate import kept  # noqa: PLC0415

        found = kept(plan.program)
        if found is not None:
            from flowedge.ui.costs import promises  # noqa: PLC0415

            print("\nmeasured on this machine")
            print("\n".join(f"    {line}" for line in promises(found, plan.program)))


@app.command()
def graph(
    flow: Flow,
    out: Annotated[Path, typer.Option("-o", "--out", help="A .svg, .dot or .mmd file.")],
    param: Params = None,
) -> None:
    """Draw the dataflow graph."""
    from flowedge.graph.draw import draw  # noqa: PLC0415

    plan = compiled(flow, param, use_cache=False)
    if plan.graph is None:
        raise RunError("the graph is not there to be drawn")
    kinds = {".svg": "svg", ".dot": "dot", ".mmd": "mermaid"}
    if out.suffix not in kinds:
        raise typer.BadParameter(
            f"`{out.suffix}` is no known kind of drawing; give .svg, .dot or .mmd", param_hint="-o"
        )
    write_text(out, draw(plan.graph, kinds[out.suffix]))
    print(f"wrote {out}")


@app.command()
def ops(
    name: Annotated[str | None, typer.Argument(help="An operator, for example `ema`.")] = None,
) -> None:
    """List the operators, or print the manual page of one."""
    from flowedge.operators import discover  # noqa: PLC0415
    from flowedge.operators.manual import page, table  # noqa: PLC0415

    if name is None:
        width = max(len(n) for _, n, _ in table())
        for kind, word, line in table():
            print(f"{kind:10} {word:{width}}  {line}")
        return
    kinds = [kind for kind, word in discover() if word == name]
    if not kinds:
        from flowedge.lang.diagnostics import nearest  # noqa: PLC0415

        near = nearest(name, (word for _, word in discover()))
        raise typer.BadParameter(
            f"there is no operator `{name}`" + (f"; did you mean `{near}`?" if near else "")
        )
    print("\n\n".join(page(kind, name) for kind in kinds))


@app.command()
def inspect(
    file: Annotated[
        Path,
        typer.Argument(
            help="An Arrow or Parquet file, a quarantine file, a model, or a checkpoint; with --ledger a report or a checkpoint."
        ),
    ],
    rows: Annotated[int, typer.Option(help="How many rows to show.", min=0)] = 5,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Show what became of the rows of each stage.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(help="Of an encrypted file, or of authenticated checkpoints: where it lies."),
    ] = None,
) -> None:
    """Show what a file holds: schema with units, rows, provenance."""
    from flowedge.ui import inspect as look  # noqa: PLC0415

    if not ledger:
        print(look.describe(file, rows, key))
        return
    signing, _ = keys_of(key, None)
    print(look.ledger(file, None if signing is None else signing.checkpoint_key()))


@app.command()
def verify(
    out: Annotated[
        Path, typer.Argument(help="An output file, a directory of outputs, or a signed file.")
    ],
    key: Annotated[
        str | None,
        typer.Option(help="The public key that must have signed: its file, or its name in base64."),
    ] = None,
) -> None:
    """Tell whether stored files are as they were written; needs no network and no pipeline."""
    from flowedge.runtime.keys import PublicKey  # noqa: PLC0415
    from flowedge.runtime.verify import verify as look  # noqa: PLC0415

    found = look(out, None if key is None else PublicKey.of(key))
    for verdict in found:
        print("\n".join(verdict.lines()))
    if any(verdict.wrong for verdict in found):
        raise typer.Exit(5)


app.add_typer(keys, name="key")
app.add_typer(models, name="model")
app.add_typer(service, name="service")
app.command("windows")(windows)
app.command("top")(top)
app.command("calibrate")(calibrate)
app.command("bench")(bench)
app.command("compile")(compile_)


@app.command()
def fmt(
    flows: Annotated[list[Path], typer.Argument(help="The .flow files.")],
    only_check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 if a file would change.")
    ] = False,
) -> None:
    """Lay out pipelines in the one canonical way."""
    from flowedge.lang.format import format as tidy  # noqa: PLC0415
    from flowedge.runtime.plan import read_flow  # noqa: PLC0415

    changed = 0
    for flow in flows:
        text = read_flow(str(flow))
        new = tidy(text, str(flow))
        if new == text:
            continue
        changed += 1
        print(f"{'would change' if only_check else 'changed'} {flow}")
        if not only_check:
            write_text(flow, new)
    if only_check and changed:
        raise typer.Exit(1)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="A name for the pipeline, and for its file.")],
) -> None:
    """Write a small pipeline that runs as it stands, to begin from."""
    from flowedge.ui.new import write  # noqa: PLC0415

    path = write(name)
    print(f"wrote {path}; try: flowedge run {path}")
