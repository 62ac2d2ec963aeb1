"""Which sinks there are: found by walking the folder, imported only when asked for."""

from flowedge.sinks.contract import connector
from flowedge.sinks.remote import RemoteSink
from flowedge.types.connectors import ConnectorInfo

PLANNED: tuple[str, ...] = ()
"""Part of the language, but this version has no such connector yet."""


names = connector.names
get = connector.get


def catalogue() -> dict[str, ConnectorInfo]:
    """What the checker needs to know of every sink, planned ones included."""
    out = {}
    for name in names():
        sink = get(name)
        assert sink is not None
        out[name] = ConnectorInfo(
            name,
            "sink",
            sink.options,
            (sink.__doc__ or "").strip().split("\n")[0],
            sink.extra,
            needs_address=sink.needs_address,
            writes_files=sink.writes_files,
            promises=sink.promises if issubclass(sink, RemoteSink) else None,
        )
    for name in PLANNED:
        out.setdefault(
            name,
            ConnectorInfo(
                name,
                "sink",
                planned=True,
                describes_itself=False,
                writes_files=False,
            ),
        )
    return out
