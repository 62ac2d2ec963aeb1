"""A compiled pipeline: checked, lowered, kept in the plan cache, opened as sessions."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack

from flowedge.cache import default_cache
from flowedge.compile import program as p
from flowedge.lang.errors import RunError
from flowedge.models.manifest import beside
from flowedge.runtime.apart import apart
from flowedge.runtime.catalog import FileCatalog, still_holds
from flowedge.types.heap import keep_freed_memory

if TYPE_CHECKING:
    import pyarrow as pa

    from flowedge.compile.builds import Builds
    from flowedge.compile.lower import Lowering
    from flowedge.graph.budget import Budget
    from flowedge.graph.catalog import Catalog
    from flowedge.graph.nodes import Graph, ModelFile, Node
    from flowedge.graph.training import Wanted
    from flowedge.session.session import Session

FORMAT = 1
MAGIC = b"FLOWSHIP"
"""What a compiled pipeline begins with, see `flowedge.runtime.shipped`."""


@dataclass(frozen=True)
class Plan:
    """A pipeline ready to run.

    Attributes
    ----------
    program : plain data that a session runs
    warnings : what `check` has to say besides errors, as drawn text
    from_cache : it was compiled by an earlier run
    """

    program: p.Program
    warnings: str = ""
    from_cache: bool = False
    compile_s: float = 0.0
    graph: "Graph | None" = field(default=None, repr=False)

    def open(self, models: Mapping[str, Any] | None = None) -> "Session":
        """A fresh session; what is freed is kept for its next rows (see `keep_freed_memory`)."""
        from flowedge.session.session import Session  # noqa: PLC0415

        keep_freed_memory()
        return Session(self.program, models or {})

    def restore(
        self, snapshot: bytes | dict[str, Any], models: Mapping[str, Any] | None = None
    ) -> "Session":
        """A session that goes on where a snapshot (or its plain data) was taken; raises CheckpointError."""
        from flowedge.session.session import Session  # noqa: PLC0415

        keep_freed_memory()
        if isinstance(snapshot, bytes):
            return Session.restore(self.program, snapshot, models or {})
        return Session.from_state(self.program, snapshot, models or {})

    def run(
        self, tables: "Mapping[str, pa.Table]", models: Mapping[str, Any] | None = None
    ) -> "dict[str, pa.Table]":
        """Run over whole tables in memory, one for each source; returns a table for each sink."""
        import pyarrow as pa  # noqa: PLC0415

        session = self.open(models)
        found: dict[str, list[pa.RecordBatch]] = {}

        def keep(out: "Mapping[str, pa.RecordBatch]") -> None:
            for name, batch in out.items():
                found.setdefault(name, []).append(batch)

        for name, table in tables.items():
            for batch in table.to_batches():
                keep(session.push(name, batch))
            keep(session.end(name))
        keep(session.finish())
        return {
            name: pa.Table.from_batches(found.get(name, []), schema=schema)
            for name, schema in session.schemas.items()
        }

    def explain(self) -> str:
        """What `flowedge explain` prints."""
        return self.program.explained

    def kernels(self) -> str:
        """The generated source of every kernel."""
        parts = []
        for node in self.program.nodes:
            if isinstance(node, p.KernelSpec):
                parts.append(f"# ---- kernel {node.id}: {node.name}\n{node.source}")
            elif isinstance(node, p.SourceSpec) and node.prepare is not None:
                parts.append(f"# ---- columns of {node.name}\n{node.prepare.source}")
        return "\n".join(parts)


def compile_flow(
    path: str | Path | None = None,
    *,
    text: str | None = None,
    params: Mapping[str, object] | None = None,
    catalog: "Catalog | None" = None,
    fuse: bool = True,
    use_cache: bool = True,
    vet: Callable[[Path, str], None] | None = None,
    passing: bool = False,
    wanted: "Wanted | None" = None,
) -> Plan:
    """Check a pipeline and compile it.

    Parameters
    ----------
    path : the `.flow` file; or give `text`
    params : values for ``param``, as on the command line
    catalog : what self-describing sources say; by default their files are opened
    fuse : put chains into one kernel; off, every stage is its own (the same rows, slower)
    use_cache : look for the finished plan in the cache, and keep it there
    vet : called with the path and the sha256 of each file that is run (pipeline, imports, models, manifests), of the very
        bytes that are used and before anything looks into them; may raise
    passing : compile in a process that ends, so that a run keeps none of the memory that it takes; such a plan has no
        graph, as one from the cache
    wanted : frames for a model, which are written instead of what the sinks say; such a plan is not kept

    Raises
    ------
    FlowError
        the pipeline is wrong; ``.diagnostics`` says where
    """
    start = time.perf_counter()
    file = str(path) if path is not None else "<text>"
    given = {k: v if isinstance(v, str) else json.dumps(v) for k, v in (params or {}).items()}
    if text is None:
        if path is None:
            message = "give a path or a text"
            raise TypeError(message)
        text = read_flow(str(path), vet)
    cacheable = use_cache and catalog is None and wanted is None
    key = _key(text, file, given, fuse=fuse)
    if cacheable:
        kept = _from_cache(key, vet)
        if kept is not None:
            program, warnings = kept
            return Plan(program, warnings, from_cache=True, compile_s=time.perf_counter() - start)

    def compiled() -> tuple[Plan, bytes]:
        from flowedge.compile.builds import Builds  # noqa: PLC0415  # the cold path

        with Builds() as builds:
            plan, asked = _compile(
                text, file, given, catalog, builds, fuse=fuse, vet=vet, wanted=wanted
            )
        return plan, _packed(plan, asked)

    made = apart(lambda: compiled()[1]) if passing else None
    if made is None:
        plan, made = compiled()
    else:
        _, _, warnings, program = msgpack.unpackb(made)
        plan = Plan(p.unpack(program), warnings)
    if cacheable:
        default_cache().put("plans", key, made)
    return replace(plan, compile_s=time.perf_counter() - start)


def packed(path: str, params: Mapping[str, str]) -> bytes:
    """A pipeline, checked and compiled, as `unpacked` reads it: what a plan is, and what it rests on.

    Raises
    ------
    FlowError, RunError
        as `compile_flow`
    """
    from flowedge.compile.builds import Builds  # noqa: PLC0415  # the cold path

    with Builds() as builds:
        plan, asked = _compile(read_flow(path), path, params, None, builds, fuse=True)
    return _packed(plan, asked)


def unpacked(
    data: bytes, vet: Callable[[Path, str], None] | None = None
) -> tuple[p.Program, str, str]:
    """The program, its warnings, and what has changed of what it rests on: empty where nothing has.

    Parameters
    ----------
    vet : called with the path and the sha256 of each model, and of what is told of it

    Raises
    ------
    ValueError
        the bytes are no such plan
    """
    format_, asked, warnings, program = msgpack.unpackb(data)
    if format_ != FORMAT:
        message = "not a plan of this format"
        raise ValueError(message)
    asked = [question for question in asked if question[0] != "import"]  # it is compiled in
    changed = [subject for kind, subject, digest in asked if not still_holds(kind, subject, digest)]
    if vet is not None and not changed:
        _vet(asked, vet)
    return p.unpack(program), warnings, _named(changed[0]) if changed else ""


def read_flow(path: str, vet: Callable[[Path, str], None] | None = None) -> str:
    """The text of a pipeline; `vet` is asked with its path and sha256 before it is looked at.

    Raises
    ------
    RunError
        there is no such file, or it cannot be read
    FlowError
        it is not UTF-8
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise RunError(f"there is no file `{path}`; give the path of a .flow file") from None
    except IsADirectoryError:
        raise RunError(f"`{path}` is a directory; give the path of a .flow file") from None
    except OSError as problem:
        raise RunError(f"cannot read `{path}`: {problem.strerror}") from None
    if data.startswith(MAGIC):
        raise RunError(
            f"`{path}` is a compiled pipeline, which can only be run; give the .flow file that it was made of"
        )
    if vet is not None:
        vet(Path(path), hashlib.sha256(data).hexdigest())
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        from flowedge.lang.parse import decode  # noqa: PLC0415  # it says so with a diagnostic

        return decode(data, path)


def _key(text: str, file: str, params: Mapping[str, str], *, fuse: bool) -> str:
    """All that the plan depends on besides what the catalogue answers."""
    from flowedge.compile import native  # noqa: PLC0415

    digest = hashlib.sha256()
    where = str(Path.cwd())
    for part in (
        str(FORMAT),
        str(p.FORMAT),
        *native.versions(),
        *native.machine(),
        _sources_digest(),
        where,
        file,
        text,
        str(fuse),
    ):
        digest.update(part.encode() + b"\0")
    for name in sorted(params):
        digest.update(f"{name}={params[name]}".encode() + b"\0")
    return digest.hexdigest()


def _sources_digest() -> str:
    """Our own code counts as a version: sizes and times of its files, cheap to ask for."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for room in ("lang", "types", "operators", "graph", "compile"):
        for path in sorted((root / room).rglob("*.py")):
            stat = path.stat()
            digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()


def _from_cache(key: str, vet: Callable[[Path, str], None] | None) -> tuple[p.Program, str] | None:
    data = default_cache().get("plans", key)
    if data is None:
        return None
    try:
        format_, asked, warnings, program = msgpack.unpackb(data)
        if format_ != FORMAT or not all(still_holds(*question) for question in asked):
            return None
        if vet is not None:
            _vet(asked, vet)
        return p.unpack(program), warnings
    except (ValueError, TypeError, KeyError, msgpack.UnpackException):
        return None


def _packed(plan: Plan, asked: list[tuple[str, str, str]]) -> bytes:
    return msgpack.packb([FORMAT, asked, plan.warnings, p.pack(plan.program)])


def _vet(asked: Iterable[tuple[str, str, str]], vet: Callable[[Path, str], None]) -> None:
    """Ask about what a plan was made of."""
    for kind, subject, sha256 in asked:
        if kind in ("import", "model"):
            vet(Path(subject), sha256)
        elif kind == "manifest" and sha256 and (told := beside(subject)) is not None:
            vet(told, sha256)


def _named(subject: str) -> str:
    """What a question was about: a file, or the address of a source."""
    if not subject.startswith("["):
        return f"`{subject}`"
    connector, address, _ = json.loads(subject)
    return f'{connector}("{address}")'


def _compile(
    text: str,
    file: str,
    params: Mapping[str, str],
    catalog: "Catalog | None",
    builds: "Builds",
    *,
    fuse: bool,
    vet: Callable[[Path, str], None] | None = None,
    wanted: "Wanted | None" = None,
) -> tuple[Plan, list[tuple[str, str, str]]]:
    from flowedge.compile.emit.kernel import functions  # noqa: PLC0415
    from flowedge.compile.kernels.needed import needed  # noqa: PLC0415
    from flowedge.compile.lower import Lowering  # noqa: PLC0415
    from flowedge.graph.check import check  # noqa: PLC0415
    from flowedge.graph.explain import explain  # noqa: PLC0415
    from flowedge.graph.passes import optimise  # noqa: PLC0415
    from flowedge.lang.render import render_all  # noqa: PLC0415
    from flowedge.operators import zones  # noqa: PLC0415

    files = FileCatalog(vet) if catalog is None else None
    asked: list[tuple[str, str, str]] | None = files.asked if files is not None else None
    here = Path(file).parent
    read = files.text if files is not None else (lambda path: Path(path).read_text("utf-8"))
    graph = check(
        text, file, params=params, catalog=files or catalog,  # type: ignore[arg-type]
        imports=lambda path: read(str(here / path)), wanted=wanted,
    )  # fmt: skip
    graph = optimise(graph)
    lowering = Lowering(
        graph, lambda source, names: builds.ask(source, {**functions(), **names}), fuse=fuse
    )
    nodes, tables = lowering.run()
    exact = all(model.exact for model in graph.models)
    builds.prepare(needed(nodes, has_literals=bool(lowering.literals), is_exact=exact))
    objects = builds.objects()
    rests_on = [] if asked is None else asked
    if graph.zones:
        rests_on.append(("zones", "tzdata", zones.version()))
    digest = hashlib.sha256(
        json.dumps([text, sorted(params.items()), rests_on, *_told(graph)]).encode()
    ).hexdigest()
    seen = {subject: sha256 for kind, subject, sha256 in rests_on if kind == "model"}
    program = p.Program(
        nodes=nodes, tables=tables, objects=objects, literals=tuple(lowering.literals),
        models=tuple(_model_file(m, seen) for m in graph.models), digest=digest,
        connectors=tuple(lowering.connectors), explained=explain(graph, lambda node: _compiled_into(lowering, node)),
    )  # fmt: skip
    return Plan(program, render_all(graph.warnings), graph=graph), rests_on


def _told(graph: "Graph") -> "list[Any]":
    """What outputs tell of themselves beyond the text: nothing, but for frames for a model."""
    return [about for node in graph.nodes if (about := getattr(node, "about", ()))]


def _model_file(model: "ModelFile", seen: Mapping[str, str]) -> p.ModelFileSpec:
    """A model as it is to be loaded: the file that was checked, whatever lies there later."""
    return p.ModelFileSpec(
        name=model.name, kind=model.kind, path=model.path, sha256=model.sha256 or seen.get(model.path, ""),
        device=model.device, isolated=model.isolated, arch=model.arch, exact=model.exact, signed_by=model.signed_by,
    )  # fmt: skip


def check_flow(
    path: str | Path, params: Mapping[str, str] | None = None, budget: "Budget | None" = None
) -> "list[Any]":
    """The warnings of a pipeline, without compiling it, and what is above a budget.

    Raises
    ------
    FlowError
        with its errors
    """
    from flowedge.graph.check import check  # noqa: PLC0415

    text = read_flow(str(path))
    files = FileCatalog()
    here = Path(path).parent
    found = check(
        text,
        str(path),
        params=params or {},
        catalog=files,
        imports=lambda name: files.text(str(here / name)),
    )
    if budget is None:
        return list(found.warnings)
    from flowedge.runtime.budget import over_budget  # noqa: PLC0415  # only those who ask

    return [*found.warnings, *over_budget(found, budget)]


def _compiled_into(lowering: "Lowering", node: "Node") -> list[str]:
    """What the compiler made of a stage: its kernel with the stages fused into it, and state per key."""
    place = lowering.places.get(node.id)
    if place is None:
        return []
    spec = lowering.nodes[place.id]
    if not isinstance(spec, p.KernelSpec):
        return []
    fused = f" with {len(spec.stages)} stages fused" if len(spec.stages) > 1 else ""
    lines = [f"kernel   {spec.id}{fused}"]
    if node.label == spec.label:
        size = spec.record + spec.block
        more = ", and a ring that grows with the rows it must hold" if spec.has_arena else ""
        lines.append(f"state    {size:,} bytes per key{more}" if size else "state    none")
    return lines
