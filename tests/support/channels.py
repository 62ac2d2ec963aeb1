"""A model of columns as one of an input whose channels they are: what the engine asks without the nodes between."""

import numpy as np


class OneInput:
    """Asks a model that takes columns.

    Parameters
    ----------
    model : has ``infer(columns)``

    Attributes
    ----------
    filled : how often it was asked by the input, not by columns
    """

    def __init__(self, model):
        self.model, self.filled = model, 0

    @property
    def was_late(self):
        return getattr(self.model, "was_late", False)

    def infer(self, columns):
        return self.model.infer(columns)

    def shape_of(self, shapes):
        one = shapes[0]
        return (len(shapes), *one) if len(one) == 1 and len(set(shapes)) == 1 else None

    def answer(self, inputs):
        (x,) = inputs
        assert x.dtype == np.float32
        self.filled += 1
        return self.model.infer([x[:, k] for k in range(x.shape[1])])
