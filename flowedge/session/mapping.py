"""The state of one pipeline for another: operators are found again by name, and must be the same.

A node's *name* is its stream and its stage, ``tens: window 10 s``. Its *print* covers all that its state
depends on: the code of its kernel and the layout of its memory, or the fields of a source. State goes on in a
node of the same name and print. What has state and has no such node is named, and given up only when asked.
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from flowedge.compile import program as p
from flowedge.lang.errors import CheckpointError

EVERYTHING = "*"
"""Given up, all operators begin afresh; where the sources are and what the outputs have stays."""


def shape_of(program: p.Program) -> dict[str, Any]:
    """What a snapshot says of the program that made it, plain data."""
    nodes = {
        str(node.id): [name, _print(program, node), _has_state(node)]
        for node, name in zip(program.nodes, _names(program), strict=True)
    }
    tables = [_table(program, t) for t in range(len(program.tables))]
    return {"nodes": nodes, "tables": tables, "literals": list(program.literals)}


def adapted(
    program: p.Program, value: dict[str, Any], discard: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """A snapshot's content for a program, and what became of the state, as sentences.

    Parameters
    ----------
    program : the one that goes on
    value : what `Session.state` gave, perhaps for another program
    discard : names of nodes or streams whose state is given up

    Returns
    -------
    value : nodes by the ids of `program`; those that begin afresh are missing, tables are None
    notes : one for each node whose state is given up, or that is new

    Raises
    ------
    CheckpointError
        state would be lost that was not given up: the difference, and the way out;
        or what is given up is not there
    """
    if value["program"] == program.digest and not discard:
        return value, []
    before, now = value["shape"], shape_of(program)
    by_name = {name: (i, mark, has) for i, (name, mark, has) in before["nodes"].items()}
    unknown = set(discard) - {EVERYTHING}
    unknown = {d for d in unknown if not any(_is_in(name, {d}) for name in by_name)}
    if unknown:
        have = ", ".join(f"`{name}`" for name, (_, _, has) in by_name.items() if has)
        raise CheckpointError(
            f"there is no state of `{min(unknown)}` to discard; the checkpoint has that of {have}"
        )
    nodes: dict[str, Any] = {}
    told: list[str] = []
    lost: list[str] = []
    kept = set()
    for i, (name, mark, has) in now["nodes"].items():
        old = by_name.get(name)
        if old is None:
            if has:
                told.append(f"+ {name}: new, begins without a past")
        elif old[1] == mark and not _is_in(name, discard):
            nodes[i] = value["nodes"][old[0]]
            kept.add(name)
        elif old[2] or has:
            why = (
                "given up" if old[1] == mark else "its code or the layout of its state has changed"
            )
            (told if _is_in(name, discard) else lost).append(f"~ {name}: {why}")
            kept.add(name)
    for name, (_, _, has) in by_name.items():
        if has and name not in kept and name not in {n for n, _, _ in now["nodes"].values()}:
            (told if _is_in(name, discard) else lost).append(f"- {name}: is no longer there")
    pool = value["pool"]
    if before["literals"] != now["literals"]:
        # Numbers of texts in the state would mean others.
        held = [now["nodes"][i][0] for i in nodes if now["nodes"][i][2]]
        held = [name for name in held if not _is_in(name, discard)]
        lost += [f"~ {name}: the texts of the pipeline have changed" for name in held]
        nodes = {i: state for i, state in nodes.items() if now["nodes"][i][0] not in held}
        pool = None
    if lost:
        raise CheckpointError(_refusal([*told, *lost], lost))
    tables: list[Any] = [None] * len(now["tables"])
    if pool is not None:
        known = dict(zip(before["tables"], value["tables"], strict=True))
        tables = [known.get(name) for name in now["tables"]]
    return {
        "program": program.digest,
        "finished": value["finished"],
        "pool": pool,
        "tables": tables,
        "nodes": nodes,
        "afresh": True,  # nodes that are missing begin so
    }, told


def _refusal(lines: list[str], lost: list[str]) -> str:
    names = [line[2:].rpartition(": ")[0] for line in lost]
    options = " ".join(f'--discard-state "{name}"' for name in dict.fromkeys(names))
    return (
        "the pipeline has changed since the checkpoint, and state would be lost:\n"
        + "".join(f"    {line}\n" for line in lines)
        + f"run the pipeline of before, or give that state up with {options}"
    )


def _is_in(name: str, discard: Collection[str]) -> bool:
    """Whether a node is named: itself, its stream, or with all others."""
    return bool({name, name.partition(": ")[0], EVERYTHING} & set(discard))


def _names(program: p.Program) -> list[str]:
    """One for each node; the second of a name is called ``name #2``."""
    seen: dict[str, int] = {}
    out = []
    for node in program.nodes:
        name = f"{node.name}: {node.label}" if node.label not in ("", node.name) else node.name
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return out


def _has_state(node: p.NodeSpec) -> bool:
    """Whether rows leave anything behind in it."""
    if isinstance(node, p.SinkSpec | p.PartSpec | p.RekeySpec | p.GateSpec):
        return False
    if isinstance(node, p.ModelSpec):
        return node.otherwise[0] == "hold" or any(call.states for call in node.calls)
    if isinstance(node, p.KernelSpec):
        kept = node.record or node.block or node.globals_init or node.has_arena
        return bool(kept) or len(node.inputs) > 1
    return True


def _print(program: p.Program, node: p.NodeSpec) -> str:
    """A digest of all that the state of a node depends on."""
    table = _table(program, node.table)
    if isinstance(node, p.KernelSpec):
        tables = [_table(program, t) for t in node.join or ()]
        init = [node.record_init.hex(), node.globals_init.hex()]
        inputs = [_columns(program, i) for i in node.inputs] if len(node.inputs) > 1 else []
        told: list[Any] = [node.source, node.record, node.block, init, node.has_arena, node.has_touched, tables, inputs]  # fmt: skip
    else:
        fields = asdict(node)
        for name in ("id", "inputs", "table", "address", "valid", "fitting"):
            fields.pop(name, None)
        if fields.get("prepare"):
            fields["prepare"] = fields["prepare"]["source"]
        told = [fields]
    text = json.dumps([type(node).__name__, table, *told], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def _columns(program: p.Program, node: int) -> list[str]:
    spec = next(n for n in program.nodes if n.id == node)
    return [f"{f.name} {f.store} {f.shape}" for f in spec.fields]


def _table(program: p.Program, table: int) -> str:
    """A key table's name: the first stream that has it, and its columns; empty without keys."""
    if table < 0:
        return ""
    first = next((n for n in program.nodes if n.table == table), None)
    lives = any(
        isinstance(n, p.SourceSpec) and n.table == table and n.expire_ns >= 0 for n in program.nodes
    )
    columns = [f"{f.name} {f.store}" for f in program.tables[table].fields]
    return f"{first.name if first else ''}{' with lives' if lives else ''}: {', '.join(columns)}"
