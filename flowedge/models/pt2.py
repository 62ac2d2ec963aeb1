"""A `torch.export` archive read as what it is: a JSON graph and raw weights.

`torch.export.load` unpickles parts of the archive and evaluates texts in it, so a stranger's file can
run code. This reader opens neither: the graph is JSON, the weights are bytes, the operators are on a
list. Nothing is unpickled, nothing is evaluated.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowedge.lang.errors import ModelError
from flowedge.models.archive import Archive
from flowedge.models.info import ModelInfo, TensorInfo
from flowedge.models.operators import ALLOWED, DTYPES

LARGEST = 2**28
"""Elements of one weight, at most."""
LARGEST_JSON = 2**24
"""Bytes of the graph, at most."""
_FREE = 2**20
"""Elements that a weight may have beyond its bytes, by strides of zero."""

PREFIX = "torch.ops.aten."


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
        try:
            model = json.loads(archive.read("models/model.json", LARGEST_JSON))
            module = model["graph_module"]
            self.graph, self.signature = module["graph"], module["signature"]
            self._check()
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError):
            raise ModelError(
                f"model `{self.name}` has a graph that this reader does not understand; export it with torch.export"
            ) from None

    def _check(self) -> None:
        if model_has_code(self.archive):
            raise ModelError(
                f"model `{self.name}` ships machine code; only graphs with raw weights are read unsigned"
            )
        for node in self.graph["nodes"]:
            target = node["target"]
            if target.startswith("_operator.getitem") or target == "_operator.getitem":
                continue
            if not target.startswith(PREFIX) or target.removeprefix(PREFIX) not in ALLOWED:
                raise ModelError(
                    f"model `{self.name}` uses the operator `{target}`, which is not on the list of safe ones"
                )
        for part in ("weights", "constants"):
            for entry in self._config(part).values():
                if entry.get("use_pickle"):
                    raise ModelError(
                        f"model `{self.name}` has a weight stored as a pickle, which could run code; save it as a plain tensor"
                    )
                _shape(entry["tensor_meta"]["sizes"], self.name)

    def _config(self, part: str) -> dict[str, Any]:
        path = f"data/{part}/model_{part}_config.json"
        if not self.archive.has(path):
            return {}
        found = json.loads(self.archive.read(path, LARGEST_JSON))["config"]
        return dict(found)

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

    def weights(self) -> dict[str, tuple[np.ndarray[Any, Any], str]]:
        """Every weight by its graph name: the array of its bytes, and its element type."""
        out: dict[str, tuple[np.ndarray[Any, Any], str]] = {}
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
                raise ModelError(f"model `{self.name}` lacks the weight `{key}`")
            part, entry = stored[key]
            out[arg] = self._tensor(part, entry, str(key))
        return out

    def _tensor(
        self, part: str, entry: dict[str, Any], key: str
    ) -> tuple[np.ndarray[Any, Any], str]:
        meta = entry["tensor_meta"]
        dtype = DTYPES.get(meta["dtype"])
        if dtype is None or dtype == "bfloat16":
            raise ModelError(
                f"model `{self.name}`: the weight `{key}` has an element type that is not read"
            )
        shape = _shape(meta["sizes"], self.name)
        strides = tuple(int(s["as_int"]) for s in meta["strides"])
        offset = int(meta["storage_offset"]["as_int"])
        flat = np.frombuffer(self.archive.read(f"data/{part}/{entry['path_name']}"), dtype=dtype)
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        elements = math.prod(shape)
        if (
            any(s < 0 for s in strides)
            or offset < 0
            or (elements and last >= len(flat))
            or elements > len(flat) + _FREE
        ):
            raise ModelError(
                f"model `{self.name}`: the weight `{key}` is shorter than its shape {list(shape)}"
            )
        view = np.lib.stride_tricks.as_strided(
            flat[offset:], shape, tuple(s * flat.itemsize for s in strides)
        )
        return np.ascontiguousarray(view), dtype


def model_has_code(archive: Archive) -> bool:
    """Whether an archive is an AOTInductor package: a shared library inside."""
    return any(path.endswith((".so", ".cpp", ".cubin", ".o")) for path in archive.members)


def _shape(sizes: Sequence[Any], name: str) -> tuple[int, ...]:
    shape = tuple(int(s["as_int"]) for s in sizes)
    total = 1
    for n in shape:
        total *= max(0, n)
        if n < 0 or total > LARGEST:
            raise ModelError(
                f"model `{name}` has a weight of shape {list(shape)}, more than {LARGEST} elements"
            )
    return shape


def _info(name: str, value: dict[str, Any]) -> TensorInfo:
    shape = tuple(int(s["as_int"]) if "as_int" in s else None for s in value["sizes"])
    return TensorInfo(name, shape, DTYPES.get(value["dtype"], "unknown"))


class Runner:
    """Calls the graph of a `Program` with Torch, operator by operator, on one thread."""

    def __init__(self, program: Program) -> None:
        import torch  # noqa: PLC0415  # only a model node brings Torch

        self.torch = torch
        self.name = program.name
        self.info = program.info()
        weights = program.weights()
        self._weights = {k: torch.from_numpy(v.copy()) for k, (v, _) in weights.items()}
        for key, tensor in self._weights.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise ModelError(
                    f"model `{self.name}` has weights that are not finite (`{key}`); train or export it again"
                )
        self._steps = [self._step(node) for node in program.graph["nodes"]]
        self._outputs = [
            o["as_tensor"]["name"] for o in program.graph["outputs"] if "as_tensor" in o
        ]

    def _step(
        self, node: dict[str, Any]
    ) -> tuple[Callable[..., Any], list[Any], dict[str, Any], list[str]]:
        target = node["target"]
        run: Callable[..., Any]
        if target.startswith(PREFIX):
            packet, overload = target.removeprefix(PREFIX).split(".")
            run = getattr(getattr(self.torch.ops.aten, packet), overload)
        else:
            run = _item
        args: list[Any] = []
        named: dict[str, Any] = {}
        for given in node["inputs"]:
            value = self._argument(given["arg"])
            if given.get("kind") == 2:
                named[given["name"]] = value
            else:
                args.append(value)
        outputs = []
        for out in node["outputs"]:
            if "as_tensor" in out:
                outputs.append(out["as_tensor"]["name"])
            elif "as_tensors" in out:
                outputs.append([t["name"] for t in out["as_tensors"]])
            else:
                raise ModelError(
                    f"model `{self.name}`: `{target}` gives something that is no tensor"
                )
        return run, args, named, outputs

    def _argument(self, arg: dict[str, Any]) -> Any:  # noqa: ANN401  # as many kinds as the schema has
        ((kind, value),) = arg.items()
        match kind:
            case "as_tensor":
                return _Slot(value["name"])
            case "as_tensors" | "as_optional_tensors":
                return [
                    _Slot(v["name"])
                    if "name" in v
                    else (_Slot(v["as_tensor"]["name"]) if "as_tensor" in v else None)
                    for v in value
                ]
            case "as_optional_tensor":
                return None if "as_none" in value else _Slot(value["as_tensor"]["name"])
            case "as_none":
                return None
            case (
                "as_int"
                | "as_float"
                | "as_bool"
                | "as_string"
                | "as_ints"
                | "as_floats"
                | "as_bools"
            ):
                return value
            case "as_scalar_type":
                return getattr(self.torch, DTYPES[value])
            case "as_sym_int":
                return (
                    int(value["as_int"]) if "as_int" in value else _Batch(value.get("as_name", ""))
                )
            case "as_sym_ints":
                return [
                    int(v["as_int"]) if "as_int" in v else _Batch(v.get("as_name", ""))
                    for v in value
                ]
            case "as_memory_format" | "as_layout" | "as_device":
                return None
            case _:
                raise ModelError(
                    f"model `{self.name}` has an argument of the kind `{kind}`, which is not read"
                )

    def __call__(self, inputs: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """The outputs for one batch; shapes as `info` says, the batch length as given."""
        torch = self.torch
        with torch.inference_mode():
            values: dict[str, Any] = dict(self._weights)
            for spec, array in zip(self.info.inputs, inputs, strict=True):
                values[spec.name] = torch.from_numpy(np.ascontiguousarray(array, dtype=spec.dtype))
            batch = len(inputs[0]) if inputs else 0
            for run, args, named, outputs in self._steps:
                result = run(
                    *(_filled(a, values, batch) for a in args),
                    **{k: _filled(v, values, batch) for k, v in named.items()},
                )
                _store(values, outputs, result)
            return [values[name].numpy() for name in self._outputs]


@dataclass(frozen=True, slots=True)
class _Slot:
    name: str


@dataclass(frozen=True, slots=True)
class _Batch:
    """A free length of the graph: the batch, the only one that there is."""

    name: str


def _filled(value: Any, values: dict[str, Any], batch: int) -> Any:  # noqa: ANN401
    if isinstance(value, _Slot):
        return values[value.name]
    if isinstance(value, _Batch):
        return batch
    if isinstance(value, list):
        return [_filled(v, values, batch) for v in value]
    return value


def _store(values: dict[str, Any], outputs: list[Any], result: Any) -> None:  # noqa: ANN401
    if len(outputs) == 1 and isinstance(outputs[0], list):
        values.update(zip(outputs[0], result, strict=True))
    elif len(outputs) == 1:
        values[outputs[0]] = result
    else:
        values.update(zip(outputs, result, strict=True))


def _item(value: Any, index: int) -> Any:  # noqa: ANN401
    return value[index]
