"""`classify with MODEL [deadline D else POLICY]`: label each frame, or each row, by a model."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("classify", "with")
@dataclass(frozen=True)
class With(Stage):
    """Label each frame, or each row, by a model.

    The model is declared by a `model` statement; it is called with one shape only, frames of all keys and
    windows together, so that a score never depends on how many came at once.

    Parameters
    ----------
    deadline : of computing, from the moment at which the frame is whole
    else : ``keep``, ``drop``, ``missing``, ``label "…"`` or ``with OTHER``, what then happens

    Stream
    ------
    in : frames of a fixed number of samples, or rows, with the columns that the model takes
    out : a row per frame with ``label``, ``score``, ``probs``, or the model's own columns
    wait : none, but frames go to the model in batches
    missing : a frame with a missing value is not shown to the model; its label is missing
    state : the frames of one batch
    """

    written: ClassVar[str] = "classify with MODEL [deadline D else POLICY]"
