"""Which sinks there are: found by walking the folder, imported only when asked for."""

import importlib
import pkgutil
from pathlib import Path

from flowedge.sinks.contract import REGISTRY, Sink
from flowedge.types.connectors import ConnectorInfo

PLANNED = ("mqtt", "nats", "http", "postgres", "sqlite", "duckdb", "tcp", "edgex")
"""Part of the language, but this version has no such connector yet."""


def names() -> tuple[str, ...]:
    """Every sink that can be opened, in alphabetical order."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"flowedge.sinks.{module.name}")
    return tuple(sorted(REGISTRY))


def get(name: str) -> type[Sink] | None:
    """The sink of this name; None if there is none. Imports no other."""
    if name not in REGISTRY and name.isidentifier():
        module = f"flowedge.sinks.{name}"
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    return REGISTRY.get(name)


def catalogue() -> dict[str, ConnectorInfo]:
    """What the checker needs to know of every sink, planned ones included."""
    out = {}
    for name in names():
        sink = REGISTRY[name]
        out[name] = ConnectorInfo(
            name,
            "sink",
            sink.options,
            (sink.__doc__ or "").strip().split("\n")[0],
            sink.extra,
            needs_address=sink.needs_address,
            writes_files=sink.writes_files,
        )
    for name in PLANNED:
        out.setdefault(
            name,
            ConnectorInfo(
                name,
                "sink",
                planned=True,
                describes_itself=False,
                writes_files=name in ("sqlite", "duckdb"),
            ),
        )
    return out
