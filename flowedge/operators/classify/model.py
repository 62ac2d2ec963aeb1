"""`classify with MODEL [shadow with OTHER] [deadline D else POLICY]`: label each frame, or each row, by a model."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("classify", "with")
@dataclass(frozen=True)
class With(Stage):
    """Label each frame, or each row, by a model.

    The model is declared by a `model` statement; it is called with one shape only, frames of all keys and
    windows together, so that a score never depends on how many came at once. A model that fails does not stop the
    stream; after some failures in a row a breaker leaves it alone for a while [1]_.

    Parameters
    ----------
    shadow : a second model that is asked about the same frames; how far both agree is told
    deadline : of computing, from the moment at which the frame is whole; it acts in runs that keep time
    else : ``keep``, ``drop``, ``missing``, ``hold``, ``label "…"`` or ``with OTHER``, what becomes of a frame without an
        answer, because the model is late, fails, or rests

    Stream
    ------
    in : frames of a fixed number of samples, or rows, with the columns that the model takes
    out : a row per frame with ``label``, ``score``, ``probs``, or the model's own columns; ``late`` with ``else keep``
    wait : none, but frames go to the model in batches
    missing : a frame with a missing value is not shown to the model; its label is missing
    state : the frames of one batch; with ``hold`` the last answer of each key; what a recurrent model remembers of it

    References
    ----------
    .. [1] M. T. Nygard, Release It!, Pragmatic Bookshelf, 2007, section 5.2, Circuit Breaker.
    """

    written: ClassVar[str] = "classify with MODEL [shadow with OTHER] [deadline D else POLICY]"
