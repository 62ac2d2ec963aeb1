"""Files and their names: imports, what is declared twice, parameters from outside."""

from collections.abc import Iterable

from flowedge.graph.catalog import CatalogError
from flowedge.graph.checker import Checker
from flowedge.graph.names import Cycle, Decl, DeclaredTwice, Module
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import FlowError, Rule, did_you_mean
from flowedge.lang.parse import parse
from flowedge.lang.span import Span


class ImportFailed(Rule):
    """An imported file that is missing or wrong.

    Wrong::

        import "missing.flow"
        source s (time, v: f64) from arrow("in.arrow")
        sink s to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to console
    """

    code = "FE215"


class BadParameter(Rule):
    """A parameter from outside that does not exist, or whose text does not fit its default.

    ``-p cut=oops`` for ``param cut = 5 Hz`` is refused, as is ``-p cutt=3 Hz``. Every parameter
    has a literal as its default.
    """

    code = "FE206"


def load(c: Checker, tree: st.Flow, file: str, above: tuple[str, ...] = ()) -> Module:
    """The names of a file, with those that it imports."""
    module = Module(file)
    for statement in tree.statements:
        match statement:
            case st.Import():
                _import(c, module, statement, (*above, file))
            case st.Test():
                module.tests.append(statement)
            case st.Sink():
                module.sinks.append(statement)
            case _:
                _declare(c, module, Decl(statement.name.name, statement, module))
    return module


def _declare(c: Checker, module: Module, decl: Decl) -> None:
    known = module.names.get(decl.name)
    if known is not None:
        c.report(DeclaredTwice.at(decl.span, f"`{decl.name}` is declared twice", label=f"a {decl.word}", others=[(known.span, f"first here, a {known.word}")],
                                  fix="rename one of them"))  # fmt: skip
        return
    if isinstance(decl.tree, st.Def | st.Fn):
        seen: dict[str, Span] = {}
        for f in decl.tree.formals:
            ident = f.name if isinstance(f, st.Formal) else f
            if ident.name in seen:
                c.report(
                    DeclaredTwice.at(
                        ident.span,
                        f"two formals are called `{ident}`",
                        others=[(seen[ident.name], "first here")],
                        fix="rename one of them",
                    )
                )
            seen[ident.name] = ident.span
    module.names[decl.name] = decl


def _import(c: Checker, module: Module, statement: st.Import, above: tuple[str, ...]) -> None:
    path = statement.path.value
    if path in above:
        c.report(
            Cycle.at(
                statement.path.span,
                f"`{path}` imports itself",
                why="files are read one inside the other",
                fix="move what both need into a third file",
            )
        )
        return
    try:
        text = c.imports(path)
    except FlowError as error:  # bytes that are no text
        for problem in error.diagnostics:
            c.report(problem)
        return
    except (CatalogError, OSError, LookupError, UnicodeDecodeError) as error:
        reason = "not found"
        if isinstance(error, CatalogError):
            reason = error.message
        elif isinstance(error, OSError) and error.strerror:
            reason = error.strerror.lower()
        c.report(
            ImportFailed.at(
                statement.path.span,
                f"cannot import `{path}`: {reason}",
                fix="give a path relative to this file",
            )
        )
        return
    try:
        tree = parse(text, path)
    except FlowError as error:
        for problem in error.diagnostics:
            c.report(problem)
        return
    inner = load(c, tree, path, above)
    for name, decl in inner.names.items():
        decl.used = True
        params(c, inner, only=[name])
        shown = name if statement.alias is None else f"{statement.alias.name}.{name}"
        for key in {shown, shown.replace(".", "_")}:
            if key in module.names and module.names[key] is not decl:
                c.report(DeclaredTwice.at(statement.path.span, f"`{key}` from `{path}` is declared here too", others=[(module.names[key].span, "declared here")],
                                          fix=f'write `import "{path}" as NAME`'))  # fmt: skip
                continue
            module.names[key] = decl


def params(
    c: Checker, module: Module, only: Iterable[str] | None = None
) -> tuple[tuple[str, str], ...]:
    """Settle every parameter: its default, or the text from outside; returns (name, text)."""
    known = module.of(st.Param)
    told: list[tuple[str, str]] = []
    for name, decl in known.items():
        assert isinstance(decl.tree, st.Param)
        if only is not None and name not in only:
            continue
        if id(decl.tree) in c.values:
            told.append((name, c.given.get(name, decl.tree.value.span.source)))
            continue
        c.values[id(decl.tree)] = decl.tree.value
        if name in c.given:
            told.append((name, c.given[name]))
            value = _read(c, decl, c.given[name])
            if value is not None:
                c.values[id(decl.tree)] = value
        else:
            told.append((name, decl.tree.value.span.source))
    if only is None:
        for name in c.given:
            if name not in known:
                span = Span(0, len(name), "-p", f"{name}={c.given[name]}")
                c.report(
                    BadParameter.at(
                        span,
                        f"unknown parameter `{name}` on the command line",
                        fix=did_you_mean(name, known) or "the pipeline has no parameters",
                    )
                )
    return tuple(told)


def _read(c: Checker, decl: Decl, text: str) -> t.Value | None:
    """A text from outside, read as its default is."""
    assert isinstance(decl.tree, st.Param)
    default = decl.tree.value
    file = f"-p {decl.name}"
    if isinstance(default, t.Text):
        return t.Text(value=text, span=Span(0, len(text), file, text))
    try:
        tree = parse(f"param {decl.name} = {text}", file)
        (made,) = tree.statements
        assert isinstance(made, st.Param)
        value = made.value
    except (FlowError, ValueError):
        value = None
    if isinstance(value, t.Number) and isinstance(default, t.Number) and value.unit is None:
        value = t.Number(
            value=value.value,
            is_integer=value.is_integer,
            unit=default.unit,
            is_bracketed=default.is_bracketed,
            unit_span=default.unit_span,
            span=value.span,
        )
    if value is None or not _alike(value, default):
        c.report(BadParameter.at(decl.span, f'parameter `{decl.name}` cannot be "{text}"', label=f"its default is `{default.span.source}`",
                                 fix="give a value of the same kind"))  # fmt: skip
        return None
    return value


def _alike(value: t.Value, default: t.Value) -> bool:
    if isinstance(value, t.Number) and isinstance(default, t.Number):
        return True
    computed = t.Number | t.Binary | t.Negate
    return type(value) is type(default) or (
        isinstance(value, computed) and isinstance(default, computed)
    )
