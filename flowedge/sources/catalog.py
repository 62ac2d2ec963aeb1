"""Which sources there are: found by walking the folder, imported only when asked for."""

from flowedge.sources.contract import connector
from flowedge.sources.live import LiveSource
from flowedge.types.connectors import ConnectorInfo

names = connector.names
get = connector.get


def about(name: str) -> ConnectorInfo | None:
    """What the checker needs to know of a source; None: there is none of this name. Imports no other."""
    source = get(name)
    if source is None:
        return None
    return ConnectorInfo(
        name,
        "source",
        source.options,
        (source.__doc__ or "").strip().split("\n")[0],
        source.extra,
        needs_address=source.needs_address,
        is_live=source.is_live,
        comes_again=source.comes_again if issubclass(source, LiveSource) else None,
        converts=source.converts,
        describes_itself=source.describes_itself,
        received=source.received,
        mistakes=source.mistakes,
    )
