"""Which library kernels a plan will call for, so that they are compiled along with its own."""

from collections.abc import Iterable, Iterator

from flowedge.compile.kernels import (
    columns,
    entries,
    frames,
    gaps,
    ingest,
    intern,
    meet,
    network,
    order,
    slots,
    weave,
)
from flowedge.compile.kernels.library import Run
from flowedge.compile.program import MergeSpec, ModelSpec, NodeSpec, SinkSpec, SourceSpec


def needed(
    nodes: Iterable[NodeSpec], *, has_literals: bool, is_exact: bool = True
) -> Iterator[Run]:
    """The library kernels that a session of these nodes calls for almost any rows.

    `has_literals`: the pipeline itself names texts, such as labels; `is_exact`: all models have the bits that Torch's have.
    """
    if not is_exact:
        yield network.infer
    has_text = has_literals
    for spec in nodes:
        if isinstance(spec, ModelSpec):
            yield frames.fill
            if spec.call.heads:
                yield frames.shares
                yield frames.labels
        if len(getattr(spec, "inputs", ())) > 1:
            yield meet.interleave
        if isinstance(spec, MergeSpec):
            yield weave.weave
        if isinstance(spec, SinkSpec) and spec.keys:
            yield columns.gather
        if not isinstance(spec, SourceSpec):
            continue
        yield ingest.steps if spec.time else ingest.count
        if spec.table >= 0:
            is_text = [field.store in ("string", "binary") for field, _ in spec.keys]
            yield from slots.usual(is_text)
            yield order.merge_in
            if spec.is_signal:
                yield ingest.follow
        if spec.is_signal and spec.gaps_policy != "reset":
            if spec.table < 0:
                yield ingest.follow
            yield gaps.find
            yield gaps.fill
            if spec.table >= 0 and spec.gaps_policy != "nan":
                yield gaps.remember
        if spec.late_ns == 0:  # else no row takes the short way
            yield columns.locate
        if any(f.store in ("string", "binary") and f.name != spec.time for f in spec.raw):
            has_text = True
            yield entries.ids
    if has_text:
        yield intern.intern
        yield intern.spell
