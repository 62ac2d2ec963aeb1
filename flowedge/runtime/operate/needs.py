"""What a pipeline wants of the machine that it is a service of: files, folders, devices, secrets, ports."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowedge.graph import nodes as g
from flowedge.types.connectors import Signature

_NO_PATHS = frozenset(
    {"host", "console", "mqtt", "edgex", "nats", "http", "tcp", "udp", "postgres"}
)
"""Connectors whose address is none of the file system."""
_FILES = ("ca", "cert", "key", "like")
_FOLDERS_WRITTEN = ("to",)
_PATTERN = re.compile(r"[{*?\[]")
_FIRST_FREE_PORT = 1024
_PORT = re.compile(r"://[^/]*:(\d+)")


@dataclass
class Needs:
    """All that a pipeline names besides itself; each with what it is, for messages.

    Attributes
    ----------
    reads, writes : paths; of a pattern the folder that it begins in; what is written may not be there yet
    devices : that are opened
    secrets : references, see `flowedge.types.secrets`
    relative : of the paths those, as they are written, that are not whole
    has_low_port : it listens on a port below 1024
    has_isolated, has_cuda : models in processes of their own, and on a graphics card
    """

    reads: dict[str, str] = field(default_factory=dict)
    writes: dict[str, str] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    relative: dict[str, str] = field(default_factory=dict)
    has_low_port: bool = False
    has_isolated: bool = False
    has_cuda: bool = False

    def note(self, path: str, what: str) -> None:
        """Note a path, as it is written, if it depends on where the run is started."""
        if not Path(path).is_absolute():
            self.relative[path] = what

    @property
    def all_paths(self) -> Mapping[str, str]:
        """What is read, written and opened."""
        return {**self.reads, **self.writes, **self.devices}


def needs_of(graph: g.Graph) -> Needs:
    """What the sources, sinks and models of a checked pipeline want."""
    out = Needs()
    for node in graph.nodes:
        if isinstance(node, g.Source):
            _source(out, node)
        elif isinstance(node, g.Sink):
            what = f"sink {node.name}"
            if node.connector not in _NO_PATHS and node.address:
                out.note(node.address, what)
            out.writes[_folder(node.address, is_file=True)] = what
            _options(out, what, node.options, _sink_options(node.connector))
            if node.signed_by:
                out.secrets[node.signed_by] = what
    for model in graph.models:
        out.note(model.path, f"model {model.name}")
        out.reads[model.path] = f"model {model.name}"
        out.has_isolated |= model.isolated
        out.has_cuda |= model.device == "cuda"
    return out


def _source(out: Needs, node: g.Source) -> None:
    what = f"source {node.name}"
    _options(out, what, node.options, _source_options(node.connector))
    if node.quarantine:
        out.note(node.quarantine, what)
        out.writes[_folder(node.quarantine, is_file=True)] = what
    kind = node.connector.partition(".")[0]
    address = node.address
    if kind in ("tcp", "udp") and node.options.get("mode", "listen") == "listen":
        port = _PORT.search(address)
        out.has_low_port |= port is not None and 0 < int(port[1]) < _FIRST_FREE_PORT
    if kind in _NO_PATHS or kind == "simulate" or not address or address.partition(":")[0] == "simulate":  # fmt: skip
        return
    out.note(address, what)
    if kind == "serial":
        out.devices[address] = what
    elif kind == "unix" or (kind == "dir" and node.options.get("each") in ("delete", "move")):
        out.writes[_folder(address, is_file=True)] = what
    else:
        out.reads[_folder(address, is_file=kind == "dir")] = what


def _options(out: Needs, what: str, given: Mapping[str, Any], known: Signature) -> None:
    for name, value in given.items():
        option = known.option(name)
        if option is None or not isinstance(value, str) or not value:
            continue
        if option.kind == "secret":
            out.secrets[value] = what
        elif name in _FILES:
            out.note(value, what)
            out.reads[value] = what
        elif name in _FOLDERS_WRITTEN:
            out.note(value, what)
            out.writes[value] = what


def _folder(address: str, *, is_file: bool) -> str:
    """The path of an address: of a pattern the folder in front of it, and of a file that is made the folder it lies in."""
    found = _PATTERN.search(address)
    if found is None:
        return str(Path(address).parent) if is_file else address
    return str(Path(address[: found.start()] + "x").parent)


def _source_options(name: str) -> Signature:
    from flowedge.sources.catalog import get  # noqa: PLC0415  # only what the pipeline names

    found = get(name)
    return Signature() if found is None else found.options


def _sink_options(name: str) -> Signature:
    from flowedge.sinks.catalog import get  # noqa: PLC0415

    found = get(name)
    return Signature() if found is None else found.options


def parents(path: Path) -> Iterator[Path]:
    """The folders that a path lies in, outermost first."""
    yield from reversed(path.parents)
