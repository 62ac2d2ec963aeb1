"""Which sources there are: found by walking the folder, imported only when asked for."""

from flowedge.sources.contract import connector
from flowedge.sources.live import LiveSource
from flowedge.types.connectors import ConnectorInfo

PLANNED: tuple[str, ...] = ()
"""Part of the language, but this version has no such connector yet."""


names = connector.names
get = connector.get


def catalogue() -> dict[str, ConnectorInfo]:
    """What the checker needs to know of every source, planned ones included."""
    out = {}
    for name in names():
        source = get(name)
        assert source is not None
        out[name] = ConnectorInfo(
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
    for name in PLANNED:
        out.setdefault(
            name,
            ConnectorInfo(
                name,
                "source",
                planned=True,
                is_live=True,
                describes_itself=False,
                writes_files=False,
            ),
        )
    return out
