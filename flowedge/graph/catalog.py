"""What the checker may know of the world outside the text: connectors, files, models."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from flowedge.types.connectors import ConnectorInfo
from flowedge.types.schema import Type


class CatalogError(Exception):
    """Something outside cannot be read: the message is for the user.

    Parameters
    ----------
    message : lower case, no full stop: what and where
    fix : what to do
    """

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message, self.fix = message, fix


@dataclass(frozen=True, slots=True)
class Described:
    """What a self-describing source says of itself.

    Attributes
    ----------
    columns : raw fields with their types and units
    rate_hz : samples per second, None where it does not say
    time : the raw field with the event time, None where none stands out
    start_ns : instant of the first row, for a source without a time column
    """

    columns: tuple[tuple[str, Type], ...]
    rate_hz: float | None = None
    time: str | None = None
    start_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of a model: None in `shape` is free; the first length is the batch; empty: it is not told.

    Of `units`, `mean` and `std` there is one for all channels, or one for each; `channels` are their names. What
    is empty is not told.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    units: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What a model says of itself, no inputs and no outputs where it says nothing of them; `rate_hz` where it was trained at one rate only, `head` as in `output`."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    rate_hz: float | None = None
    labels: tuple[str, ...] = ()
    head: str = ""


class Catalog(Protocol):
    """Answers of the outside; the command line has one that opens files, a test one of constants."""

    def source(self, connector: str) -> ConnectorInfo | None:
        """The source connector of this name."""

    def sink(self, connector: str) -> ConnectorInfo | None:
        """The sink connector of this name."""

    def connectors(self) -> tuple[str, ...]:
        """All names, to suggest the nearest."""

    def schema(self, connector: str, address: str, options: Mapping[str, Any]) -> Described | None:
        """Columns of a self-describing source; None: it cannot say. Raises `CatalogError`."""

    def model(self, path: str, kind: str = "torch") -> ModelShape | None:
        """Inputs and outputs of a model file; None: it cannot say. Raises `CatalogError`."""


@dataclass(frozen=True)
class PlainCatalog:
    """A catalogue of constants.

    Attributes
    ----------
    sources, sinks : connectors by name
    schemas : by address; a function is asked with (connector, address, options)
    models : by path
    """

    sources: Mapping[str, ConnectorInfo] = field(default_factory=dict)
    sinks: Mapping[str, ConnectorInfo] = field(default_factory=dict)
    schemas: Mapping[str, Described] | Callable[[str, str, Mapping[str, Any]], Described | None] = (
        field(default_factory=dict)
    )
    models: Mapping[str, ModelShape] = field(default_factory=dict)

    def source(self, connector: str) -> ConnectorInfo | None:
        """The source connector of this name."""
        return self.sources.get(connector)

    def sink(self, connector: str) -> ConnectorInfo | None:
        """The sink connector of this name."""
        return self.sinks.get(connector)

    def connectors(self) -> tuple[str, ...]:
        """All names of sources and sinks."""
        return tuple(sorted({*self.sources, *self.sinks}))

    def schema(self, connector: str, address: str, options: Mapping[str, Any]) -> Described | None:
        """What is known under the address."""
        if callable(self.schemas):
            return self.schemas(connector, address, options)
        return self.schemas.get(address)

    def model(self, path: str, kind: str = "torch") -> ModelShape | None:
        """What is known under the path."""
        return self.models.get(path)
