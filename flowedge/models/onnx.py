"""An ONNX model: its graph is looked through as data, and then run by ONNX Runtime on one thread.

An ONNX file holds no code, but it may name files beside it, ask for libraries of operators, run for ever in a
loop, or ask for more memory than there is. Such files are refused by name before the runtime sees them
(Open Neural Network Exchange, IR specification, onnx.ai).
"""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from flowedge.lang.errors import ModelError
from flowedge.models.info import ModelInfo, TensorInfo
from flowedge.models.magic import is_pickle, kind_of
from flowedge.models.trust import UNREAD

LARGEST = 2**28
"""Elements of one weight, or of one value between two operators where its shape is known, at most."""
MOST_BYTES = 2**27
"""All values and weights of all models of a process together, as far as their sizes are not known before."""
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
"""Operators of the standard; those of others come with a library of machine code."""
_DEEPEST = 16
"""Graphs inside graphs."""


class Graph:
    """A model that may be run: the standard's operators alone, all weights inside, every size in bounds.

    Parameters
    ----------
    data : the bytes of the file
    name : what to call it in errors

    Attributes
    ----------
    info : inputs and outputs; the first length of each is the batch

    Raises
    ------
    ModelError
        it is no ONNX model, or one that may not be run
    """

    def __init__(self, data: bytes, name: str) -> None:
        import onnx  # noqa: PLC0415  # only pipelines with such a model
        from google.protobuf.message import DecodeError  # noqa: PLC0415

        self.name, self._onnx = name, onnx
        if is_pickle(data):
            raise ModelError(f"model `{name}` is {kind_of(data)}, and not an ONNX model; {UNREAD}")
        try:
            self.model = onnx.load_model_from_string(data)
        except (DecodeError, ValueError, TypeError):
            raise ModelError(
                f"model `{name}` is truncated or not an ONNX model; export it again"
            ) from None
        graph = self.model.graph
        if not graph.node or not graph.output:
            raise ModelError(f"model `{name}` is truncated or not an ONNX model: it has no graph")
        self._functions = {(f.domain, f.name) for f in self.model.functions}
        for function in self.model.functions:
            self._look_at_nodes(function.node, 1)
        self._look_at(graph, 0)
        self._look_at_sizes()
        weights = {w.name for w in graph.initializer}
        self.info = ModelInfo(
            tuple(self._tensor(v) for v in graph.input if v.name not in weights),
            tuple(self._tensor(v) for v in graph.output),
        )

    def _look_at(self, graph: Any, depth: int) -> None:  # noqa: ANN401
        """Nodes and weights of a graph, and of those inside it."""
        if depth > _DEEPEST:
            raise ModelError(f"model `{self.name}` has graphs in graphs, more than {_DEEPEST} deep")
        if graph.sparse_initializer:
            raise ModelError(f"model `{self.name}` has sparse weights, which are not read")
        for weight in graph.initializer:
            self._look_at_weight(weight)
        self._look_at_nodes(graph.node, depth)

    def _look_at_nodes(self, nodes: Sequence[Any], depth: int) -> None:
        for node in nodes:
            if node.domain not in DOMAINS and (node.domain, node.op_type) not in self._functions:
                raise ModelError(
                    f"model `{self.name}` uses the operator `{node.domain}.{node.op_type}`, which is not of the standard"
                )
            if node.op_type == "Loop":
                raise ModelError(
                    f"model `{self.name}` has a `Loop`, which may never end; export it with its steps unrolled"
                )
            for given in node.attribute:
                for weight in (given.t, *given.tensors):
                    self._look_at_weight(weight)
                if given.HasField("sparse_tensor") or given.sparse_tensors:
                    raise ModelError(f"model `{self.name}` has sparse weights, which are not read")
                for inner in (*([given.g] if given.HasField("g") else ()), *given.graphs):
                    self._look_at(inner, depth + 1)

    def _look_at_weight(self, weight: Any) -> None:  # noqa: ANN401
        """Inside the file, of a size that its bytes have, and finite."""
        onnx, told = self._onnx, f"model `{self.name}`: the weight `{weight.name}`"
        if weight.external_data or weight.data_location == onnx.TensorProto.EXTERNAL:
            raise ModelError(f"{told} lies in another file; save the model with its weights inside")
        if not weight.data_type:
            return  # an attribute that is no tensor
        if _elements(weight.dims) is None:
            raise ModelError(
                f"{told} has the shape {list(weight.dims)}, more than {LARGEST} elements"
            )
        if weight.data_type == onnx.TensorProto.STRING:
            return
        try:
            values = onnx.numpy_helper.to_array(weight)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ModelError(f"{told} is shorter than its shape {list(weight.dims)}") from None
        if values.dtype.kind == "f" and not np.isfinite(values).all() and not _is_mask(values):
            raise ModelError(f"{told} is not finite; train or export the model again")

    def _look_at_sizes(self) -> None:
        """What operators make, as far as shapes tell without running them."""
        onnx = self._onnx
        try:
            graph = onnx.shape_inference.infer_shapes(self.model, data_prop=True).graph
        except onnx.checker.ValidationError as error:
            raise ModelError(f"model `{self.name}` is not valid: {_told(error)}") from None
        except (onnx.shape_inference.InferenceError, ValueError, RuntimeError, TypeError):
            raise ModelError(
                f"model `{self.name}` has a graph whose shapes do not fit each other; export it again"
            ) from None
        for value in (*graph.value_info, *graph.input, *graph.output):
            dims = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
            if _elements(dims) is None:
                raise ModelError(
                    f"model `{self.name}` makes `{value.name}` of shape {dims}, more than {LARGEST} elements"
                )

    def _tensor(self, value: Any) -> TensorInfo:  # noqa: ANN401
        onnx, kind = self._onnx, value.type.tensor_type
        try:
            dtype = str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        except KeyError:
            dtype = "unknown"
        if not value.type.HasField("tensor_type") or dtype in ("object", "unknown"):
            raise ModelError(
                f"model `{self.name}`: `{value.name}` is no tensor of numbers; export it with plain tensors (for "
                "scikit-learn: `zipmap=False`, and probabilities alone)"
            )
        dims = kind.shape.dim
        shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)
        return TensorInfo(value.name, shape, dtype)


def _elements(dims: Sequence[int]) -> int | None:
    """How many elements a shape has; None where they are too many, or a length is below zero."""
    total = 1
    for n in dims:
        total *= n
        if n < 0 or total > LARGEST:
            return None
    return total


def _is_mask(values: np.ndarray[Any, Any]) -> bool:
    """Whether values are those of a mask, or of a running maximum before the first: infinite or zero, each of them."""
    return bool((np.isinf(values) | (values == 0)).all())


class Session:
    """Calls an ONNX model with ONNX Runtime on one thread.

    Raises
    ------
    ModelError
        the runtime does not take the model
    """

    def __init__(self, data: bytes, name: str, device: str = "cpu") -> None:
        import onnxruntime as ort  # noqa: PLC0415

        providers = ["CPUExecutionProvider"]
        if device == "cuda":
            if "CUDAExecutionProvider" not in ort.get_available_providers():
                raise ModelError(
                    f"model `{name}` is to run on CUDA, and this ONNX Runtime has no such device; leave `on cuda` away, or "
                    "install onnxruntime-gpu"
                )
            providers.insert(0, "CUDAExecutionProvider")

        graph = Graph(data, name)
        self.info, self._name = graph.info, name
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        options.add_session_config_entry("session.use_env_allocators", "1")
        _bound_memory()
        self._errors = tuple(_errors())
        try:
            self._session = ort.InferenceSession(
                data, options, providers=providers, enable_fallback=0
            )
        except self._errors as error:
            raise ModelError(f"model `{name}` is refused by ONNX Runtime: {_told(error)}") from None
        self._outputs = [o.name for o in self.info.outputs]

    def __call__(self, inputs: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """Outputs for one batch."""
        given = {spec.name: x for spec, x in zip(self.info.inputs, inputs, strict=True)}
        try:
            return [np.asarray(x) for x in self._session.run(self._outputs, given)]
        except self._errors as error:
            raise ModelError(f"the model failed on a batch: {_told(error)}") from None


@functools.cache
def _bound_memory() -> None:
    """One allocator for all sessions of the process, with an end: sizes that only a run tells are bounded, too."""
    import onnxruntime as ort  # noqa: PLC0415

    place = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(place, ort.OrtArenaCfg({"max_mem": MOST_BYTES}))


def _errors() -> Iterator[type[Exception]]:
    """What ONNX Runtime raises: kinds of its own, which have no common one."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415

    for kind in vars(state).values():
        if isinstance(kind, type) and issubclass(kind, Exception):
            yield kind
    yield from (RuntimeError, ValueError, MemoryError)


def _told(error: Exception) -> str:
    """The sentence of an error, without the place in the runtime's source that it comes from."""
    text = (str(error).strip().splitlines() or ["no reason given"])[0]
    node = re.search(r"running (\w+) node", text)
    text = text.rpartition("Status Message: ")[2].rpartition(" : ")[2]
    text = re.sub(r"^/\S+\.(cc|h):\d+ .*\) (?=[A-Z])", "", text).strip()
    return f"{node.group(1)}: {text}" if node is not None else text
