"""Which sinks there are: found by walking the folder, imported only when asked for."""

from flowedge.sinks.contract import connector
from flowedge.sinks.remote import RemoteSink
from flowedge.types.connectors import ConnectorInfo

names = connector.names
get = connector.get


def about(name: str) -> ConnectorInfo | None:
    """What the checker needs to know of a sink; None: there is none of this name. Imports no other."""
    sink = get(name)
    if sink is None:
        return None
    return ConnectorInfo(
        name,
        "sink",
        sink.options,
        (sink.__doc__ or "").strip().split("\n")[0],
        sink.extra,
        needs_address=sink.needs_address,
        writes_files=sink.writes_files,
        promises=sink.promises if issubclass(sink, RemoteSink) else None,
    )
