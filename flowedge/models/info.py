"""What a model says of itself, whatever its format."""

from dataclasses import dataclass

from flowedge.models.manifest import Manifest


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output: None in `shape` is free; the first length is the batch."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model takes and gives; `manifest`: what is told beside or inside it."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    manifest: Manifest | None = None
