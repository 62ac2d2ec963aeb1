"""``flowedge service``: a pipeline as a service of systemd, behind as many walls as it lets one build."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowedge.cli.arguments import Flow, Params
from flowedge.cli.shared import styled
from flowedge.lang.errors import RunError
from flowedge.ui import options

if TYPE_CHECKING:
    from flowedge.runtime.operate.unit import Unit

service = typer.Typer(
    no_args_is_help=True, help="Let systemd run a pipeline: install, uninstall, status."
)

User = Annotated[
    bool, typer.Option("--user", help="Of your own systemd, not of the system: fewer walls.")
]
Name = Annotated[
    str, typer.Argument(help="The name that it was installed with.", show_default=False)
]


@service.command("install")
def install(
    flow: Flow,
    param: Params = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="What it is called: `flowedge-NAME.service`; the file's name by default."
        ),
    ] = None,
    user: User = False,
    account: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="The user whom the service is; one that systemd makes up by default.",
            metavar="USER",
        ),
    ] = None,
    credential: Annotated[
        list[str] | None,
        typer.Option(
            help='A file that the service gets as `secret("systemd:NAME")`. May be repeated.',
            metavar="NAME=/PATH",
        ),
    ] = None,
    environment: Annotated[
        Path | None, typer.Option(help="A file with variables for the service.", metavar="/FILE")
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="As for `run`.", metavar="ADDRESS")] = None,
    every: Annotated[str | None, typer.Option(help="As for `run`.")] = None,
    memory: Annotated[
        str, typer.Option(help="What the service may take before it is killed.", metavar="SIZE")
    ] = "2 GB",
    now: Annotated[
        bool, typer.Option("--now", help="Start it, and at each start of the machine.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the unit, and change nothing.")
    ] = False,
) -> None:
    """Write a hardened unit for a pipeline, once it is checked and nothing is found that would keep it from working."""
    from flowedge.runtime.operate.unit import MARK  # noqa: PLC0415

    limit = options.size(memory)
    options.address(metrics)
    if every is not None:
        options.duration(every)
    if user and account is not None:
        raise typer.BadParameter("a service of your own systemd is you", param_hint="--as")
    more = [*(x for p in param or () for x in ("-p", p))]
    for option, value in (("--metrics", metrics), ("--every", every)):
        more += [] if value is None else [option, value]
    unit = _unit(flow, param, name, account, credential, environment, tuple(more), limit, is_user=user, metrics=metrics is not None)  # fmt: skip
    if dry_run:
        print(unit.text(), end="")
        return
    path = _folder(is_user=user) / unit.file
    if path.exists() and not path.read_text("utf-8", errors="replace").startswith(MARK):
        raise RunError(
            f"`{path}` was not written by `flowedge service install`; move it away, or give another `--name`"
        )
    from flowedge.sinks.atomic import replace  # noqa: PLC0415

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make `{path.parent}`: {error.strerror}{_rights(error)}") from None
    replace(path, unit.text().encode())
    path.chmod(0o644)
    print(f"wrote {path}")
    mine = ["--user"] if user else []
    trouble = _systemctl(*mine, "daemon-reload")
    if not trouble and now:
        trouble = _systemctl(*mine, "enable", "--now", unit.file)
    if trouble:
        print(f"systemd was not told: {trouble}", file=sys.stderr)
    elif not now:
        print(f"start it with: systemctl {' '.join([*mine, 'enable', '--now', unit.file])}")


@service.command("uninstall")
def uninstall(name: Name, user: User = False) -> None:
    """Stop a service and take its unit away; its state and its outputs stay."""
    path = _installed(name, is_user=user)
    mine = ["--user"] if user else []
    trouble = _systemctl(*mine, "disable", "--now", path.name)
    try:
        path.unlink()
    except OSError as error:
        raise RunError(f"cannot remove `{path}`: {error.strerror}{_rights(error)}") from None
    trouble = _systemctl(*mine, "daemon-reload") or trouble
    print(f"removed {path}; what it had stored stays")
    if trouble:
        print(f"systemd was not told: {trouble}", file=sys.stderr)


@service.command("status")
def status(name: Name, user: User = False) -> None:
    """Tell whether a service runs, and what it does; exit code 3 if it does not."""
    path = _installed(name, is_user=user)
    mine = ["--user"] if user else []
    command = ["systemctl", *mine, "status", "--no-pager", "--lines=10", path.name]
    try:
        found = subprocess.run(command, check=False)  # noqa: S603  # systemd's own
    except FileNotFoundError:
        raise RunError("there is no systemd here") from None
    if found.returncode:
        raise typer.Exit(3)


def _unit(
    flow: Path, param: list[str] | None, name: str | None, account: str | None, credential: list[str] | None, environment: Path | None,
    more: tuple[str, ...], limit: int | None, *, is_user: bool, metrics: bool,
) -> "Unit":  # fmt: skip
    """The unit of a pipeline that is right and would work; raises FlowError, RunError."""
    from flowedge.graph.check import check  # noqa: PLC0415
    from flowedge.lang.render import render_all  # noqa: PLC0415
    from flowedge.runtime.catalog import FileCatalog  # noqa: PLC0415
    from flowedge.runtime.operate.fitness import Account, problems, programs  # noqa: PLC0415
    from flowedge.runtime.operate.needs import needs_of  # noqa: PLC0415
    from flowedge.runtime.operate.unit import Unit, name_of  # noqa: PLC0415
    from flowedge.runtime.plan import read_flow  # noqa: PLC0415

    text, whole = read_flow(str(flow)), flow.resolve()
    files = FileCatalog()
    graph = check(
        text,
        str(flow),
        params=options.params_of(param),
        catalog=files,
        imports=lambda p: files.text(str(flow.parent / p)),
    )
    if graph.warnings:
        print(render_all(graph.warnings, styled(sys.stderr)), file=sys.stderr)
    credentials = {key: Path(value) for key, value in options.params_of(credential).items()}
    try:
        called = name_of(flow.stem if name is None else name)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--name") from None
    who = Account("", os.getuid(), frozenset(os.getgroups())) if is_user else Account()
    if account is not None:
        try:
            who = Account.of(account)
        except KeyError:
            raise typer.BadParameter(f"there is no user `{account}`", param_hint="--as") from None
    needs = needs_of(graph)
    needs.reads |= {str(Path(path).resolve()): "an import" for kind, path, _ in files.asked if kind == "import"}  # fmt: skip
    state = f"/var/lib/flowedge/{called}"
    found = list(
        problems(whole, needs, who, credentials, state, environment=environment, metrics=metrics)
    )
    if found:
        raise RunError("the service would not work:\n" + "\n".join(f"    {line}" for line in found))
    return Unit(
        called,
        whole,
        sys.executable,
        needs,
        who,
        programs(),
        more,
        is_user,
        credentials,
        environment,
        limit or 2 << 30,
    )


def _folder(*, is_user: bool) -> Path:
    """Where units lie."""
    if not is_user:
        return Path("/etc/systemd/system")
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "systemd" / "user"


def _installed(name: str, *, is_user: bool) -> Path:
    """The unit of a service that this command has written; raises RunError."""
    from flowedge.runtime.operate.unit import MARK, name_of  # noqa: PLC0415

    try:
        path = _folder(is_user=is_user) / f"flowedge-{name_of(name)}.service"
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        raise RunError(f"there is no service `{name}`: `{path}` is not there") from None
    if not text.startswith(MARK):
        raise RunError(f"`{path}` was not written by `flowedge service install`; it is left alone")
    return path


def _systemctl(*words: str) -> str:
    """Tell systemd something; why that did not succeed, or nothing."""
    try:
        found = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)  # noqa: S603, S607  # systemd's own
    except FileNotFoundError:
        return "there is no systemd here"
    return "" if found.returncode == 0 else " ".join(found.stderr.split()) or "it refused"


def _rights(error: OSError) -> str:
    return "; become root, or say `--user`" if isinstance(error, PermissionError) else ""
