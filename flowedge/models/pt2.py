"""A `torch.export` archive read as what it is: a JSON graph and raw weights.

`torch.export.load` unpickles parts of the archive and evaluates texts in it, so a stranger's file can
run code. This reader opens neither: the graph is JSON, the weights are bytes, the operators are on a
list. Nothing is unpickled, nothing is evaluated.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from flowedge.lang.errors import ModelError
from flowedge.models.archive import Archive
from flowedge.models.calls import MOST_BYTES, MOST_CALLS, Calls, operator_of
from flowedge.models.info import ModelInfo, TensorInfo
from flowedge.models.inside import GRAPH, LARGEST_PICKLE, pickled
from flowedge.models.operators import DTYPES
from flowedge.models.steps import steps_of
from flowedge.models.trust import UNREAD
from flowedge.types.heap import keep_freed_memory

LARGEST = 2**28
"""Elements of one weight, or of a value between two operators for one frame, at most."""
_FREE = 2**20
"""Elements that a weight may have beyond its bytes, by strides of zero."""

ALIGNMENT = 64
"""Bytes at a multiple of which the memory of Torch's tensors begins."""

_RAW = ("weight_", "tensor_")
"""How the names of raw weights begin; Torch unpickles those of others, whatever is said of them."""

MOST_SHAPES = 8
"""Shapes of inputs for which calls are kept ready."""


class Program:
    """The graph of a `.pt2` archive, checked against the list of operators; needs no Torch.

    Raises
    ------
    ModelError
        an operator that is not on the list, a weight that only a pickle could give, or a graph that is
        not what `torch.export` writes
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.name = archive.name
        if archive.has("data.pkl") and not archive.has(GRAPH):
            self._refuse_saved()
        model = archive.json(GRAPH)
        if not isinstance(model, dict) or not isinstance(model.get("graph_module"), dict):
            self._refuse(f"has a part `{GRAPH}` that is no graph; export it with torch.export")
        try:
            module = model["graph_module"]
            self.graph, self.signature = module["graph"], module["signature"]
            self._check()
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError):
            self._refuse(
                "has a graph that this reader does not understand; export it with torch.export"
            )

    def _refuse(self, what: str) -> NoReturn:
        raise ModelError(f"model `{self.name}` {what}") from None

    def _refuse_saved(self) -> NoReturn:
        """A file of torch.save holds objects, and no graph."""
        found = (
            pickled(self.archive.read("data.pkl", LARGEST_PICKLE)) or "a pickle of tensors alone"
        )
        self._refuse(
            f"is a file of torch.save without a graph: {found}; pickles run what they name when they are read, so none is; {UNREAD}"
        )

    def _check(self) -> None:
        for part in ("weights", "constants"):
            for key, entry in self._config(part).items():
                if entry.get("use_pickle") or not entry["path_name"].startswith(_RAW):
                    self._refuse(
                        f"has a weight `{key}` stored as a pickle, which could run code and is read from nobody; {UNREAD}"
                    )
                _shape(entry["tensor_meta"]["sizes"], self.name)
        if any("user_output" not in spec for spec in self.signature["output_specs"]):
            self._refuse(
                "changes its own weights when it is called; call .eval() before torch.export"
            )
        known = [
            value["arg"]["as_tensor"]["name"] if kind == "user_input" else value["arg"]["name"]
            for spec in self.signature["input_specs"]
            for kind, value in spec.items()
        ]
        self.steps = steps_of(self.graph, known, self.name)
        for value in self.graph["tensor_values"].values():
            elements = 1
            for n in value["sizes"]:
                elements *= int(n.get("as_int", 1))
                if elements > LARGEST:
                    self._refuse(f"makes a value of more than {LARGEST} elements for one frame")

    def _config(self, part: str) -> dict[str, Any]:
        path = f"data/{part}/model_{part}_config.json"
        if not self.archive.has(path):
            return {}
        return dict(self.archive.json(path)["config"])

    def info(self) -> ModelInfo:
        """Inputs and outputs, from the graph alone."""
        values = self.graph["tensor_values"]
        users = [
            s["user_input"]["arg"]["as_tensor"]["name"]
            for s in self.signature["input_specs"]
            if "user_input" in s
        ]
        outs = [
            s["user_output"]["arg"]["as_tensor"]["name"]
            for s in self.signature["output_specs"]
            if "user_output" in s
        ]
        return ModelInfo(
            tuple(_info(n, values[n]) for n in users), tuple(_info(n, values[n]) for n in outs)
        )

    def weights(self) -> dict[str, tuple[np.ndarray[Any, Any], bool]]:
        """Every weight by its graph name: its array, and whether training would change it."""
        out: dict[str, tuple[np.ndarray[Any, Any], bool]] = {}
        stored = {**{k: ("weights", v) for k, v in self._config("weights").items()},
                  **{k: ("constants", v) for k, v in self._config("constants").items()}}  # fmt: skip
        for spec in self.signature["input_specs"]:
            ((kind, value),) = spec.items()
            if kind == "user_input":
                continue
            key = (
                value.get("parameter_name")
                or value.get("buffer_name")
                or value.get("tensor_constant_name")
            )
            arg = value["arg"]["name"]
            if key not in stored:
                self._refuse(f"lacks the weight `{key}`")
            part, entry = stored[key]
            out[arg] = (
                self._tensor(part, entry, str(key)),
                entry["tensor_meta"].get("requires_grad") is True,
            )
        return out

    def _tensor(self, part: str, entry: dict[str, Any], key: str) -> np.ndarray[Any, Any]:
        meta = entry["tensor_meta"]
        dtype = DTYPES.get(meta["dtype"])
        if dtype is None or dtype == "bfloat16":
            raise ModelError(
                f"model `{self.name}`: the weight `{key}` has an element type that is not read"
            )
        shape = _shape(meta["sizes"], self.name)
        strides = tuple(int(s["as_int"]) for s in meta["strides"])
        offset = int(meta["storage_offset"]["as_int"])
        data = self.archive.read(f"data/{part}/{entry['path_name']}")
        flat = np.frombuffer(data, dtype, len(data) // np.dtype(dtype).itemsize)
        wrong = _misplaced(shape, strides, offset, flat)
        if wrong:
            raise ModelError(f"model `{self.name}`: the weight `{key}` {wrong}")
        view = np.lib.stride_tricks.as_strided(
            flat[offset:], shape, tuple(s * flat.itemsize for s in strides)
        )
        return np.ascontiguousarray(view)


def _misplaced(
    shape: tuple[int, ...], strides: tuple[int, ...], offset: int, flat: np.ndarray[Any, Any]
) -> str:
    """Why a weight does not lie within its bytes; empty: it does. Strides and the offset count elements."""
    if any(s < 0 for s in strides):
        return f"has strides below zero, {list(strides)}"
    elements = math.prod(shape)
    if not 0 <= offset <= len(flat):
        return f"begins at element {offset}, outside its {flat.nbytes} bytes"
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if elements and last >= len(flat):
        if elements > len(flat) - offset:
            needed = elements * flat.itemsize
            return f"is shorter than its shape {list(shape)}: {flat.nbytes} bytes of {needed}"
        return f"has strides that lead outside its {flat.nbytes} bytes, {list(strides)}"
    if elements > len(flat) + _FREE:
        return (
            f"spreads {flat.nbytes} bytes over its shape {list(shape)}, by strides {list(strides)}"
        )
    return ""


def _shape(sizes: Sequence[Any], name: str) -> tuple[int, ...]:
    shape = tuple(int(s["as_int"]) for s in sizes)
    total = 1
    for n in shape:
        total *= n
        if n < 0:
            raise ModelError(
                f"model `{name}` has a weight of shape {list(shape)}, with a length below zero"
            )
        if total > LARGEST:
            raise ModelError(
                f"model `{name}` has a weight of shape {list(shape)}, more than {LARGEST} elements"
            )
    return shape


def _info(name: str, value: dict[str, Any]) -> TensorInfo:
    shape = tuple(int(s["as_int"]) if "as_int" in s else None for s in value["sizes"])
    return TensorInfo(name, shape, DTYPES.get(value["dtype"], "unknown"))


class Runner:
    """Calls the graph of a `Program` with Torch, on one thread.

    What the graph becomes for a shape of inputs is worked out when that shape comes first, which takes as long as
    some calls do: before the first row, by a call of zeros.

    Parameters
    ----------
    program : what to run
    device : where, as Torch calls it
    digest : of the archive, under which it is remembered that its values are small enough; empty: it is looked at anew
    exact : answers have the bits that Torch's have; else convolutions are by a kernel of our own, in less time
    """

    def __init__(
        self, program: Program, device: str = "cpu", digest: str = "", *, exact: bool = True
    ) -> None:
        import torch  # noqa: PLC0415  # only a model node brings Torch

        keep_freed_memory()
        self.torch, self._device, self._digest, self._exact = torch, device, digest, exact
        self.name, self.info = program.name, program.info()
        self._steps, self._outputs = program.steps, [t.name for t in self.info.outputs]
        weights = program.weights()
        self._weights = {k: _aligned(torch.from_numpy(v.copy())) for k, (v, _) in weights.items()}
        for key, tensor in self._weights.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise ModelError(
                    f"model `{self.name}` has weights that are not finite (`{key}`); train or export it again"
                )
        self._weights = {k: v.to(device) for k, v in self._weights.items()}
        for key, (_, is_trained) in weights.items():
            if is_trained and self._weights[key].is_floating_point():
                # Nothing is trained here, but Torch folds products in another way, to other last bits
                self._weights[key].requires_grad_(requires_grad=True)
        for step in self._steps:
            try:
                operator_of(torch, step.target)
            except AttributeError:
                raise ModelError(
                    f"model `{self.name}` uses the operator `{step.target}`, which this Torch ({torch.__version__}) lacks"
                ) from None
        self._calls: dict[tuple[tuple[int, ...], ...], Calls] = {}

    def __call__(self, inputs: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """The outputs for one batch; shapes as `info` says, the batch length as given.

        Raises
        ------
        ModelError
            inputs of another shape than the model takes, or for which it would need too much memory
        RuntimeError, IndexError, ValueError
            an operator fails
        """
        torch = self.torch
        arrays = [_plain(x, spec.dtype) for spec, x in zip(self.info.inputs, inputs, strict=True)]
        with torch.inference_mode():
            tensors = [_aligned(torch.from_numpy(array)) for array in arrays]
            if self._device != "cpu":
                tensors = [tensor.to(self._device) for tensor in tensors]
            shapes = tuple([array.shape for array in arrays])
            calls = self._calls.get(shapes) or self._prepared(shapes, tensors)
            found = calls(tensors)
            if self._device != "cpu":
                found = [tensor.cpu() for tensor in found]
            return [tensor.numpy() for tensor in found]

    def _known(self, shapes: tuple[tuple[int, ...], ...]) -> str:
        """What the cache knows this archive with inputs of these shapes by; empty: by nothing."""
        if not self._digest:
            return ""
        told = [self._digest, shapes, self.torch.__version__, MOST_BYTES, MOST_CALLS]
        return hashlib.sha256(repr(told).encode()).hexdigest()

    def _prepared(self, shapes: tuple[tuple[int, ...], ...], tensors: list[Any]) -> Calls:
        for spec, shape in zip(self.info.inputs, shapes, strict=True):
            if len(shape) != len(spec.shape) or any(
                want not in (None, have) for want, have in zip(spec.shape, shape, strict=True)
            ):
                raise ModelError(
                    f"the input `{spec.name}` of model `{self.name}` takes {_told(spec.shape)}, not {list(shape)}"
                )
        if not all(all(shape) for shape in shapes):
            raise ModelError(f"model `{self.name}` cannot be asked about no frames")
        names = [spec.name for spec in self.info.inputs]
        try:
            calls = Calls(
                self._steps,
                self._weights,
                dict(zip(names, tensors, strict=True)),
                self._outputs,
                self.name,
                self._known(shapes),
                exact=self._exact,
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ModelError(
                f"model `{self.name}` has a graph that does not fit together: {str(error).splitlines()[0]}"
            ) from None
        if len(self._calls) >= MOST_SHAPES:
            del self._calls[next(iter(self._calls))]
        self._calls[shapes] = calls
        return calls


def _plain(array: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    """Row by row in memory, strides of lengths of 1 too: what Torch's kernels do depends on strides."""
    found = np.ascontiguousarray(array, dtype=dtype)
    if 1 in found.shape:
        found = found.reshape(-1).reshape(found.shape)
    return found if found.flags.writeable else found.copy()  # Torch warns of what it may not write


def _aligned(tensor: Any) -> Any:  # noqa: ANN401
    """Beginning where Torch's own tensors begin: the last bits of a product can depend on that."""
    return tensor if tensor.data_ptr() % ALIGNMENT == 0 else tensor.clone()


def _told(shape: tuple[int | None, ...]) -> list[int | str]:
    return ["any" if n is None else n for n in shape]
