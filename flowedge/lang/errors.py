"""The tree of exceptions: whose turn is it, and how does the command line end."""

from collections.abc import Sequence
from typing import ClassVar


class FlowEdgeError(Exception):
    """Anything that FlowEdge reports on purpose; `exit_code` is what the command line ends with."""

    exit_code: ClassVar[int] = 3


class RunError(FlowEdgeError):
    """The run could not go on; what was finished stays readable."""


class SourceError(RunError):
    """A source could not be opened or read: what, where, what to do."""


class SinkError(RunError):
    """A sink could not be opened or written."""


class ModelError(RunError):
    """A model could not be loaded, or does not fit."""


class LateError(ModelError):
    """A model has not answered in time."""


class DigestError(ModelError):
    """A digest or a signature does not match."""

    exit_code = 5


class CheckpointError(RunError):
    """A snapshot or checkpoint cannot be used."""


class StateHeldError(RunError):
    """Another run holds the state."""

    exit_code = 4


class SecretError(RunError):
    """A secret is not there, or is none; what it is stands in no message."""


class InternalError(FlowEdgeError):
    """Our fault.

    Parameters
    ----------
    message : what went wrong
    expected, seen : what we believed and what we met
    """

    def __init__(self, message: str, *, expected: object = "", seen: object = "") -> None:
        detail = f" (expected {expected}, saw {seen})" if expected or seen else ""
        super().__init__(
            f"internal error: {message}{detail}; please report it with the pipeline and `flowedge --version`"
        )
        self.expected, self.seen = expected, seen


__all__: Sequence[str] = (
    "CheckpointError", "DigestError", "FlowEdgeError", "InternalError", "LateError", "ModelError", "RunError", "SecretError", "SinkError",
    "SourceError", "StateHeldError",
)  # fmt: skip
