"""A TorchScript archive: a program, run only when the user trusts its digest."""

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowedge.lang.errors import ModelError
from flowedge.models.info import ModelInfo, TensorInfo


class ScriptRunner:
    """Calls a TorchScript module on one thread; its inputs are known by name only."""

    def __init__(self, data: bytes, name: str) -> None:
        import torch  # noqa: PLC0415

        torch.set_num_threads(1)
        self.torch = torch
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, which the user was told
            try:
                self.module: Any = torch.jit.load(io.BytesIO(data), map_location="cpu").eval()  # type: ignore[no-untyped-call]
            except RuntimeError as error:
                raise ModelError(
                    f"model `{name}` is no TorchScript archive that loads: {str(error).splitlines()[0]}"
                ) from None
        names = [a.name for a in self.module.forward.schema.arguments[1:]]
        self.info = ModelInfo(
            tuple(TensorInfo(n, (None, None, None), "float32") for n in names), ()
        )

    def __call__(self, inputs: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """Outputs for one batch."""
        torch = self.torch
        with torch.inference_mode():
            found = self.module(*(torch.from_numpy(np.ascontiguousarray(x)) for x in inputs))
            return [f.numpy() for f in (found if isinstance(found, tuple) else (found,))]
