"""Which sources there are: found by walking the folder, imported only when asked for."""

import importlib
import pkgutil
from pathlib import Path

from flowedge.sources.contract import REGISTRY, Source
from flowedge.types.connectors import ConnectorInfo

PLANNED = ("mqtt", "nats", "http", "tcp", "udp", "unix", "serial", "video", "host", "edgex", "dir")
"""Part of the language, but this version has no such connector yet."""

_WITHOUT_ADDRESS = ("host",)


def names() -> tuple[str, ...]:
    """Every source that can be opened, in alphabetical order."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"flowedge.sources.{module.name}")
    return tuple(sorted(REGISTRY))


def get(name: str) -> type[Source] | None:
    """The source of this name; None if there is none. Imports no other."""
    if name not in REGISTRY and name.partition(".")[0].isidentifier():
        module = f"flowedge.sources.{name.partition('.')[0]}"
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    return REGISTRY.get(name)


def catalogue() -> dict[str, ConnectorInfo]:
    """What the checker needs to know of every source, planned ones included."""
    out = {}
    for name in names():
        source = REGISTRY[name]
        out[name] = ConnectorInfo(
            name,
            "source",
            source.options,
            (source.__doc__ or "").strip().split("\n")[0],
            source.extra,
            needs_address=source.needs_address,
            is_live=source.is_live,
            converts=source.converts,
        )
    for name in PLANNED:
        out.setdefault(
            name,
            ConnectorInfo(
                name,
                "source",
                planned=True,
                is_live=True,
                needs_address=name not in _WITHOUT_ADDRESS,
                describes_itself=False,
                writes_files=False,
            ),
        )
    return out
