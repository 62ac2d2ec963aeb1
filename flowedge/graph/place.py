"""Where an expression stands, and so what it may look at."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowedge.graph.checker import Flow
from flowedge.graph.names import Scope
from flowedge.types.schema import Type

DEEPEST = 100
"""Definitions may be nested so deep; what is deeper uses itself, or might as well."""


@dataclass(frozen=True)
class Place:
    """Where an expression stands, and so what it may look at.

    Attributes
    ----------
    folds : an aggregate without ``over`` means the window or the frame
    bare : columns may be read outside an aggregate
    inside : within an aggregate's argument
    defining : names that the stage defines, as far as their types are known: for ``prev``
    in_frame : per sample of a frame
    raw : of a source, where ``row`` is the number of the row
    """

    flow: Flow
    scope: Scope
    folds: bool = False
    bare: bool = True
    inside: bool = False
    defining: Mapping[str, Type | None] = field(default_factory=dict)
    in_frame: bool = False
    raw: bool = False

    @property
    def rate_hz(self) -> float | None:
        """Of the samples at hand; None on rows."""
        type_ = self.flow.type
        if type_.shape == "frames" and self.in_frame:
            return type_.frame.rate_hz if type_.frame else None
        return type_.rate_hz if type_.shape == "signal" else None
