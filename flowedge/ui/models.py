"""A model in words: what it takes and gives, what is told of it, and its digest."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowedge.models.info import TensorInfo
    from flowedge.models.manifest import InputNote


def describe(path: Path) -> str:
    """Inputs, outputs, and the manifest of a model, without running anything; raises ModelError."""
    from flowedge.models.load import describe as look  # noqa: PLC0415

    found = look(path)
    info, told = found.info, found.info.manifest
    lines = [f"{path}: a model, sha256 {found.sha256}"]
    if found.program:
        how = "--allow-class" if path.suffix == ".safetensors" else "--trust-model"
        lines.append(f"  {found.program}")
        wants = f"to run it wants {how}"
        lines.append(
            f"  {wants}" if info.inputs else f"  what it takes is known when it runs; {wants}"
        )
    notes: Sequence[InputNote | None] = (
        told.inputs if told is not None and told.inputs else [None] * len(info.inputs)
    )
    lines += [f"  in   {_tensor(t)}{_note(n)}" for t, n in zip(info.inputs, notes, strict=False)]
    lines += [f"  out  {_tensor(t)}" for t in info.outputs]
    if told is None:
        return "\n".join(lines)
    where = "inside" if found.manifest is None else str(found.manifest[0])
    lines.append(f"  manifest {where}")
    if told.rate_hz is not None:
        lines.append(f"  rate     {told.rate_hz:g} Hz")
    if told.output:
        lines.append(f"  output   {told.output}")
    if told.labels:
        lines.append(f"  labels   {', '.join(told.labels)}")
    return "\n".join(lines)


def _tensor(t: "TensorInfo") -> str:
    shape = ", ".join("any" if n is None else str(n) for n in t.shape)
    return f"{t.name}: {t.dtype} ({shape})"


def _note(note: "InputNote | None") -> str:
    if note is None:
        return ""
    said = [", ".join(note.channels)] if note.channels else []
    said += [f"in {', '.join(note.units)}"] if note.units else []
    if note.mean:
        said.append(
            f"minus {', '.join(f'{x:g}' for x in note.mean)}, by {', '.join(f'{x:g}' for x in note.std)}"
        )
    return f"  [{'; '.join(said)}]" if said else ""
