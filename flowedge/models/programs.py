"""Models that are programs: a class of the user's with weights, and AOTInductor packages of machine code.

A program can do whatever its process can. It runs only when the user named it (see `flowedge.models.trust`).
"""

import importlib
import inspect
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flowedge.lang.errors import ModelError
from flowedge.models import safetensors
from flowedge.models.info import ModelInfo, TensorInfo

Array = np.ndarray[Any, Any]


def class_of(arch: str) -> Any:  # noqa: ANN401  # a class of the user's
    """Import ``module:Class``, which may lie in the working directory.

    Raises
    ------
    ModelError
        there is no such module or class, it raises, or it is no `torch.nn.Module`
    """
    import torch  # noqa: PLC0415

    module, _, name = arch.partition(":")
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001  # whatever the user's module raises
        raise ModelError(f"cannot import `{arch}`: {type(error).__name__}: {error}") from None
    finally:
        sys.path.remove(here)
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
        raise ModelError(f"`{arch}` is no class of torch.nn.Module")
    return found


class ClassRunner:
    """Calls a class of the user's on one thread, with the weights of a file; each weight must have its place."""

    def __init__(self, data: bytes, name: str, arch: str) -> None:
        import torch  # noqa: PLC0415

        torch.set_num_threads(1)
        self.torch = torch
        held = safetensors.tensors(data, name)
        kind = class_of(arch)
        try:
            self.module = kind().eval()
            self.module.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in held.items()}, strict=True)  # fmt: skip
        except Exception as error:  # noqa: BLE001  # whatever the user's class raises
            told = " ".join(str(error).split())[:300]
            raise ModelError(f"model `{name}` does not fit `{arch}`: {told}") from None
        names = list(inspect.signature(self.module.forward).parameters)
        self.info = ModelInfo(tuple(TensorInfo(n, (None, None, None), "float32") for n in names), ())  # fmt: skip

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs for one batch."""
        return _called(self.torch, self.module, inputs)


class PackageRunner:
    """Calls an AOTInductor package on one thread.

    Its loader wants a path: the bytes that were checked go into a folder that only this user may enter, and that is gone
    when the library is loaded.
    """

    def __init__(self, data: bytes, name: str) -> None:
        import torch  # noqa: PLC0415
        from torch._inductor import aoti_load_package  # noqa: PLC0415

        torch.set_num_threads(1)
        self.torch = torch
        with tempfile.TemporaryDirectory(prefix="flowedge-") as folder:  # made with 0700
            path = Path(folder) / "model.pt2"
            path.write_bytes(data)
            try:
                self.module: Any = aoti_load_package(str(path))
            except (RuntimeError, OSError, ValueError) as error:
                told = (str(error).splitlines() or ["no reason given"])[0]
                raise ModelError(f"model `{name}` is no package that loads: {told}") from None
        given = self.module.loader.get_call_spec()
        self.info = ModelInfo(_named(given), ())

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs for one batch."""
        return _called(self.torch, self.module, inputs)


def _named(call_spec: Sequence[str]) -> tuple[TensorInfo, ...]:
    """One input for each leaf of the package's tree of arguments."""
    import torch.utils._pytree as pytree  # noqa: PLC0415

    count = pytree.treespec_loads(call_spec[0]).num_leaves
    return tuple(TensorInfo(f"x{i}", (None, None, None), "float32") for i in range(count))


def _called(torch: Any, module: Any, inputs: Sequence[Array]) -> list[Array]:  # noqa: ANN401
    with torch.inference_mode():
        found = module(*(torch.from_numpy(np.ascontiguousarray(x)) for x in inputs))
        return [f.numpy() for f in (found if isinstance(found, list | tuple) else (found,))]
