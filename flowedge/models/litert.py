"""A LiteRT (TensorFlow Lite) model: its graph is looked through as data, tried in a process that ends, and run on one thread.

The runtime trusts the offsets of a file, and a file may bring operators of its own, loops that never end, variables
that outlive a call, or weights that lie elsewhere. So every table is read here first by a schema
(``tensorflow/compiler/mlir/lite/schema/schema.fbs``, version 3); what the schema of this reader lacks is refused by name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowedge.lang.errors import ModelError
from flowedge.models.flatbuffer import MalformedError, Reader, Table
from flowedge.models.info import ModelInfo, TensorInfo
from flowedge.models.magic import is_pickle, kind_of
from flowedge.models.trust import UNREAD

LARGEST = 2**28
"""Elements of one tensor, at most."""
MOST_BYTES = 2**29
"""All tensors between operators together, for one frame."""
MAGIC = b"TFL3"
_PADDING = b"\0" * 16
"""Behind the file, so that a number that is read at its very end is one of the runtime's own."""

SCHEMA = {
    "Model": (("version", "u4"), ("codes", "[Code]"), ("graphs", "[Graph]"), ("description", "text"), ("buffers", "[Buffer]"),
              ("metadata_buffer", "[i4]"), ("metadata", "[Metadata]"), ("signatures", "[Signature]")),
    "Code": (("old", "i1"), ("custom", "text"), ("version", "i4"), ("builtin", "i4")),
    "Graph": (("tensors", "[Tensor]"), ("inputs", "[i4]"), ("outputs", "[i4]"), ("operators", "[Operator]"), ("name", "text"), ("debug", "i4")),
    "Tensor": (("shape", "[i4]"), ("type", "i1"), ("buffer", "u4"), ("name", "text"), ("quantization", "Quantization"), ("is_variable", "u1"),
               ("sparsity", ""), ("signature", "[i4]"), ("has_rank", "u1")),
    "Quantization": (("min", "[f4]"), ("max", "[f4]"), ("scale", "[f4]"), ("zero", "[i8]"), ("details_type", "u1"), ("details", ""), ("axis", "i4")),
    "Operator": (("code", "u4"), ("inputs", "[i4]"), ("outputs", "[i4]"), ("options_type", "u1"), ("options", "Options"), ("custom", "text"),
                 ("custom_format", "i1"), ("mutates", "[u1]"), ("intermediates", "[i4]"), ("far_at", "u8"), ("far_size", "u8"),
                 ("options2_type", "u1"), ("options2", ""), ("debug", "i4")),
    "Buffer": (("data", "[u1]"), ("far_at", "u8"), ("far_size", "u8")),
    "Metadata": (("name", "text"), ("buffer", "u4")),
    "Signature": (("inputs", "[Name]"), ("outputs", "[Name]"), ("key", "text"), ("unused", ""), ("graph", "u4")),
    "Name": (("name", "text"), ("tensor", "u4")),
    "Reshape": (("shape", "[i4]"),),
    "Dense": (("activation", "u1"), ("format", "u1"), ("keeps", "u1"), ("asymmetric", "u1"), ("bias", "i1"), ("spec", "")),
}  # fmt: skip

OPERATORS = {
    0: "ADD", 1: "AVERAGE_POOL_2D", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 6: "DEQUANTIZE", 8: "FLOOR", 9: "FULLY_CONNECTED",
    11: "L2_NORMALIZATION", 14: "LOGISTIC", 17: "MAX_POOL_2D", 18: "MUL", 19: "RELU", 20: "RELU_N1_TO_1", 21: "RELU6", 22: "RESHAPE",
    25: "SOFTMAX", 28: "TANH", 34: "PAD", 36: "GATHER", 39: "TRANSPOSE", 40: "MEAN", 41: "SUB", 42: "DIV", 43: "SQUEEZE", 45: "STRIDED_SLICE",
    47: "EXP", 49: "SPLIT", 50: "LOG_SOFTMAX", 53: "CAST", 54: "PRELU", 55: "MAXIMUM", 56: "ARG_MAX", 57: "MINIMUM", 59: "NEG", 65: "SLICE",
    66: "SIN", 70: "EXPAND_DIMS", 73: "LOG", 74: "SUM", 75: "SQRT", 76: "RSQRT", 77: "SHAPE", 78: "POW", 82: "REDUCE_MAX", 83: "PACK",
    88: "UNPACK", 89: "REDUCE_MIN", 92: "SQUARE", 98: "LEAKY_RELU", 99: "SQUARED_DIFFERENCE", 101: "ABS", 102: "SPLIT_V", 104: "CEIL",
    108: "COS", 111: "ELU", 114: "QUANTIZE", 116: "ROUND", 117: "HARD_SWISH", 126: "BATCH_MATMUL", 150: "GELU",
}  # fmt: skip
"""Pure ones: tensors in, tensors out, no larger than their shapes tell."""
_CONSTANT = {"PAD": (1,), "MEAN": (1,), "SUM": (1,), "TRANSPOSE": (1,), "EXPAND_DIMS": (1,), "REDUCE_MAX": (1,), "REDUCE_MIN": (1,)}  # fmt: skip
"""Operands that tell how large an answer is: not to be computed from the stream."""
_NAMED = {32: ("CUSTOM", "brings an operator of its own"), 119: ("WHILE", "has a loop, which may never end"),
          118: ("IF", "calls another graph"), 31: ("CALL", "calls another graph"), 129: ("CALL_ONCE", "calls another graph"),
          142: ("VAR_HANDLE", "keeps variables between calls"), 144: ("ASSIGN_VARIABLE", "keeps variables between calls"),
          143: ("READ_VARIABLE", "keeps variables between calls")}  # fmt: skip
_OPTIONS = {8: "Dense", 17: "Reshape", 30: "Reshape"}
"""Options that may hold more than numbers: of FULLY_CONNECTED, RESHAPE, SQUEEZE."""
DTYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scale:
    """How a tensor of small whole numbers stands for real ones: ``(q - zero) * scale``."""

    scale: float
    zero: int

    def quantise(self, x: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
        """The nearest whole numbers, halves away from zero as the format has it; NaN is `zero`, which is 0."""
        ends = np.iinfo(dtype)
        q = x / np.float32(self.scale)
        q = np.trunc(q + np.copysign(np.float32(0.5), q)) + self.zero
        return np.clip(np.nan_to_num(q, nan=self.zero), ends.min, ends.max).astype(dtype)

    def restore(self, q: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The real numbers."""
        return (q.astype(np.float32) - np.float32(self.zero)) * np.float32(self.scale)


class Graph:
    """A model that may be run: operators of the list alone, all weights inside and finite, every offset and size in bounds.

    Parameters
    ----------
    data : the bytes of the file
    name : what to call it in errors

    Attributes
    ----------
    info : inputs and outputs, those of whole numbers with a scale as float32; None as first length where it is free
    scales : by input and output, how its numbers are scaled, and their type; None: as they are

    Raises
    ------
    ModelError
        it is no LiteRT model, or one that may not be run
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        if data[4:8] != MAGIC:
            if is_pickle(data):
                self._refuse(f"is {kind_of(data)}, and no LiteRT model; {UNREAD}")
            self._refuse("is truncated or not a LiteRT model; export it again")
        reader = _Reader(data, SCHEMA)
        try:
            self.model = reader.root("Model")
        except MalformedError as error:
            raise ModelError(f"model `{name}` is damaged: {error}") from None
        graphs = self.model.get("graphs", [])
        if self.model.get("version") != 3 or len(graphs) != 1:
            self._refuse(
                f"has {len(graphs)} graphs, and one is read; export it without control flow"
            )
        (self.graph,) = graphs
        self._tensors: list[Table] = self.graph.get("tensors", [])
        self._buffers: list[Table] = self.model.get("buffers", [])
        self._constant = [self._look_at_tensor(t) for t in self._tensors]
        inputs, outputs = self._places("inputs"), self._places("outputs")
        if not inputs or not outputs:
            self._refuse("has no inputs or no outputs")
        self._look_at_operators(inputs, outputs)
        self._look_at_names()
        edges = [(self._edge(i), self._scale(i)) for i in (*inputs, *outputs)]
        n = len(inputs)
        self.info = ModelInfo(tuple(e for e, _ in edges[:n]), tuple(e for e, _ in edges[n:]))
        self.scales = tuple(
            None if scale is None else (scale, DTYPES[self._tensors[i].get("type", 0)])
            for i, (_, scale) in zip((*inputs, *outputs), edges, strict=True)
        )

    def _refuse(self, what: str) -> None:
        raise ModelError(f"model `{self.name}` {what}")

    def _places(self, what: str) -> list[int]:
        found = [int(i) for i in self.graph.get(what, [])]
        if any(not 0 <= i < len(self._tensors) for i in found):
            self._refuse(f"is damaged: its {what} are tensors that it does not have")
        return found

    def _look_at_tensor(self, tensor: Table) -> bool:
        """Size, type and weights; whether it is constant."""
        told = f"has a tensor `{_text(tensor)}`"
        shape, kind = [int(n) for n in tensor.get("shape", [])], tensor.get("type", 0)
        dtype = DTYPES.get(kind)
        if dtype is None:
            self._refuse(f"{told} of type {kind}, which is no plain number")
        elements = _elements(shape)
        if elements is None or len(shape) > 8:
            self._refuse(f"{told} of shape {shape}, more than {LARGEST} elements or 8 lengths")
        if tensor.get("is_variable"):
            self._refuse(f"{told} that is kept between calls; give it as a `state` instead")
        signature = [int(n) for n in tensor.get("signature", [])]
        if signature and (len(signature) != len(shape) or any(s not in (-1, n) for s, n in zip(signature, shape, strict=True))):  # fmt: skip
            self._refuse(f"{told} of shape {shape} that says {signature} of itself")
        self._look_at_scales(tensor, shape, told)
        number = tensor.get("buffer", 0)
        if number >= max(1, len(self._buffers)):
            self._refuse(f"is damaged: {told[4:]} without its bytes")
        buffer = self._buffers[number] if self._buffers else {}
        if buffer.get("far_at", 0) > 1 or buffer.get("far_size", 0) > 1:
            self._refuse(f"{told} whose weights lie outside the graph; save it smaller, or as one")
        data = buffer.get("data", ())
        if not len(data):
            return False
        if len(data) != (elements or 0) * np.dtype(dtype).itemsize:
            self._refuse(f"{told} of shape {shape} with {len(data)} bytes")
        if str(dtype).startswith("float") and not np.isfinite(data.view(dtype)).all():
            self._refuse(f"{told} of weights that are not finite; train or export it again")
        return True

    def _look_at_scales(self, tensor: Table, shape: list[int], told: str) -> None:
        quantization = tensor.get("quantization", {})
        scale, zero = quantization.get("scale", ()), quantization.get("zero", ())
        axis = quantization.get("axis", 0)
        if not len(scale):
            return
        if not np.isfinite(scale).all() or not (np.asarray(scale) > 0).all():
            self._refuse(f"{told} with a scale that is not above 0")
        lengths = {1} | ({shape[axis]} if 0 <= axis < len(shape) else set())
        if len(scale) not in lengths or len(zero) not in (0, len(scale)):
            self._refuse(f"{told} of shape {shape} with {len(scale)} scales")

    def _look_at_operators(self, inputs: list[int], outputs: list[int]) -> None:
        """On the list, fed by what is there already, and each answer made once."""
        codes, made = self.model.get("codes", []), set(inputs)
        for operator in self.graph.get("operators", []):
            number = operator.get("code", 0)
            if number >= len(codes):
                self._refuse("is damaged: an operator without its name")
            name = self._look_at_operator(operator, codes[number])
            given = [int(i) for i in operator.get("inputs", [])]
            answers = [int(i) for i in operator.get("outputs", [])]
            if any(not -1 <= i < len(self._tensors) for i in given) or any(not 0 <= i < len(self._tensors) for i in answers):  # fmt: skip
                self._refuse(f"is damaged: `{name}` has operands that are not there")
            for i in given:
                if i >= 0 and i not in made and not self._constant[i]:
                    self._refuse(f"is damaged: `{name}` takes a value before it is made")
            for k in _CONSTANT.get(name, ()):
                if k >= len(given) or given[k] < 0 or not self._constant[given[k]]:
                    self._refuse(f"computes from the stream how large the answer of `{name}` is")
            if any(i in made or self._constant[i] for i in answers):
                self._refuse(f"is damaged: `{name}` writes over a value that is there")
            made.update(answers)
        if not made.issuperset(outputs):
            self._refuse("is damaged: an output that nothing makes")
        if sum(self._size(i) for i in made) > MOST_BYTES:
            self._refuse(f"makes tensors of more than {MOST_BYTES >> 20} MiB together")

    def _look_at_operator(self, operator: Table, code: Table) -> str:
        """Its name, if it is on the list and brings nothing of its own."""
        number = max(code.get("builtin", 0), code.get("old", 0))
        if number in _NAMED:
            name, why = _NAMED[number]
            shown = code.get("custom", b"").decode(errors="replace") or name
            self._refuse(
                f"{why} (`{shown[:60]}`); export it with built-in operators, and steps unrolled"
            )
        if number not in OPERATORS:
            self._refuse(f"uses the operator {number}, which is not on the list of safe ones")
        name = OPERATORS[number]
        if len(operator.get("custom", b"")) or operator.get("far_at") or operator.get("far_size"):
            self._refuse(f"gives `{name}` options that only an operator of its own could read")
        if operator.get("options2_type") or any(operator.get("mutates", ())) or len(operator.get("intermediates", ())):  # fmt: skip
            self._refuse(f"gives `{name}` variables or options that are not read")
        return name

    def _look_at_names(self) -> None:
        """What signatures and metadata point to is there."""
        for signature in self.model.get("signatures", []):
            pairs = [*signature.get("inputs", []), *signature.get("outputs", [])]
            if signature.get("graph", 0) != 0 or any(p.get("tensor", 0) >= len(self._tensors) for p in pairs):  # fmt: skip
                self._refuse("is damaged: a signature of tensors that it does not have")
        for one in self.model.get("metadata", []):
            if one.get("buffer", 0) >= len(self._buffers):
                self._refuse("is damaged: metadata without its bytes")

    def _size(self, i: int) -> int:
        tensor = self._tensors[i]
        shape = [int(n) for n in tensor.get("shape", [])]
        return (_elements(shape) or 0) * np.dtype(DTYPES[tensor.get("type", 0)]).itemsize

    def _edge(self, i: int) -> TensorInfo:
        tensor = self._tensors[i]
        told = tensor.get("signature", ())
        shape = tuple(
            None if k < len(told) and told[k] == -1 else int(n)
            for k, n in enumerate(tensor.get("shape", []))
        )
        if any(n is None for n in shape[1:]):
            self._refuse(f"has a tensor `{_text(tensor)}` of which more than the batch is free")
        dtype = "float32" if self._scale(i) is not None else DTYPES[tensor.get("type", 0)]
        return TensorInfo(_text(tensor), shape, dtype)

    def _scale(self, i: int) -> Scale | None:
        tensor = self._tensors[i]
        quantization = tensor.get("quantization", {})
        scale, zero = quantization.get("scale", ()), quantization.get("zero", ())
        if not len(scale) or DTYPES[tensor.get("type", 0)] not in ("int8", "uint8", "int16"):
            return None
        if len(scale) != 1:
            self._refuse(
                f"has a scale for each channel at its edge, in `{_text(tensor)}`; export it with one"
            )
        return Scale(float(scale[0]), int(zero[0]) if len(zero) else 0)


class _Reader(Reader):
    """Options are of the kind that the field before them tells."""

    def table(self, kind: str, at: int, depth: int = 0) -> Table:
        if kind != "Options":
            return super().table(kind, at, depth)
        return {"at": at}  # read when their kind is known

    def _value(self, type_: str, at: int, end: int, depth: int) -> Any:  # noqa: ANN401
        if type_ != "[Operator]":
            return super()._value(type_, at, end, depth)
        found: list[Table] = super()._value(type_, at, end, depth)
        for one in found:
            if "options" in one:
                kind = _OPTIONS.get(one.get("options_type", 0), "scalars")
                one["options"] = super().table(kind, one["options"]["at"], depth + 1)
        return found


def _elements(shape: Sequence[int]) -> int | None:
    """How many elements a shape has; None where they are too many, or a length is below zero."""
    total = 1
    for n in shape:
        total *= n
        if n < 0 or total > LARGEST:
            return None
    return total


def _text(tensor: Table) -> str:
    return tensor.get("name", b"").decode("utf-8", "replace")[:80]


class Session:
    """Calls a LiteRT model on one thread; its buffers are made once for the batch of the pipeline.

    The XNNPACK kernels that the runtime brings give a frame the same bits in every place of a batch; those that it
    takes for operators without such a kernel may differ in the last bits: by 4e-7 of the largest value, where measured.

    Raises
    ------
    ModelError
        the runtime does not take the model
    """

    def __init__(self, data: bytes, name: str, device: str = "cpu") -> None:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

        if device != "cpu":
            raise ModelError(f"model `{name}`: LiteRT runs on the CPU; leave `on {device}` away")
        graph = Graph(data, name)
        self.info, self._name = graph.info, name
        n = len(self.info.inputs)
        self._in, self._out = graph.scales[:n], graph.scales[n:]
        try:
            self._runtime = Interpreter(model_content=data + _PADDING, num_threads=1)
            self._inputs = [d["index"] for d in self._runtime.get_input_details()]
            self._outputs = [d["index"] for d in self._runtime.get_output_details()]
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"model `{name}` is refused by LiteRT: {_told(error)}") from None
        self._batch: tuple[tuple[int, ...], ...] | None = None

    def __call__(self, inputs: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """Outputs for one batch."""
        runtime = self._runtime
        try:
            self._fit(tuple(x.shape for x in inputs))
            for at, scale, x in zip(self._inputs, self._in, inputs, strict=True):
                runtime.set_tensor(at, x if scale is None else scale[0].quantise(x, scale[1]))
            runtime.invoke()
            return list(self._answers())
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"the model failed on a batch: {_told(error)}") from None

    def _fit(self, batch: tuple[tuple[int, ...], ...]) -> None:
        """Make the buffers; again only where the number of frames is another one."""
        if batch == self._batch:
            return
        self._batch = None
        for at, shape in zip(self._inputs, batch, strict=True):
            self._runtime.resize_tensor_input(at, shape)
        self._runtime.allocate_tensors()
        self._batch = batch

    def _answers(self) -> Iterator[np.ndarray[Any, Any]]:
        for at, scale in zip(self._outputs, self._out, strict=True):
            found = self._runtime.get_tensor(at)
            yield found if scale is None else scale[0].restore(found)


def _told(error: Exception) -> str:
    """The sentence of an error, without the place in the runtime's source that it comes from."""
    text = (str(error).strip().splitlines() or ["no reason given"])[0]
    where, _, what = text.partition(" ")
    return what if where.endswith(".cc:") or ".cc:" in where else text
