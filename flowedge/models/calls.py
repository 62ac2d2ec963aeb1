"""Steps made into calls for inputs of one shape: as few of them, and as direct, as give the same bits."""

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flowedge.cache import default_cache
from flowedge.lang.errors import ModelError
from flowedge.models.convolution import Convolution, convolution_of
from flowedge.models.network import network_of
from flowedge.models.operators import LENGTHS, VIEWS
from flowedge.models.recurrent import GATES, shapes
from flowedge.models.steps import PYTHON, Device, Named, Ref, Step, names_in, refs

MOST_BYTES = 2**28
"""Of the values between two operators that are held at once, at most; weights are counted apart."""

MOST_CALLS = 2**16
"""Operators that are called for one answer, those that others are made of included, at most."""

KIND = "models"
"""Entries of the cache that say that a model takes no more memory than it may."""
_LARGEST_LENGTH = 2**63

Call = tuple[Callable[..., Any], Callable[[list[Any]], Any], int, tuple[int, ...]]
"""What is called, what fetches its arguments, where its answer goes, and which values end with it."""


class Calls:
    """The graph for inputs of one shape.

    Lengths are known with the shape, so whatever depends on weights and lengths alone is computed once. What is
    left is called by the function that Torch's own modules call, where that gives the same bits as the operator of the
    archive: it takes its arguments apart 2 µs faster. Views of a value become one view.

    Parameters
    ----------
    steps : of the graph
    weights : by their names
    inputs : by their names, tensors of the shape in question; values of floats are not used
    outputs : names of what is given
    model : what to call it in errors
    known : names these very steps, weights and shapes: what was found small once is not looked at again, since the
        shapes alone take Torch seconds to import what knows them
    exact : all bits are Torch's; else convolutions are by a kernel of our own

    Raises
    ------
    ModelError
        a value would take more memory than it may, or an answer more operators
    RuntimeError, IndexError, ValueError, TypeError
        the shapes do not fit the graph
    """

    def __init__(
        self,
        steps: Sequence[Step],
        weights: dict[str, Any],
        inputs: dict[str, Any],
        outputs: Sequence[str],
        model: str,
        known: str = "",
        *,
        exact: bool = True,
    ) -> None:
        import torch  # noqa: PLC0415  # only a model node brings Torch

        self._torch = torch
        if not known or default_cache().get(KIND, known) is None:
            _refuse_large(steps, weights, inputs, outputs, model)
            if known:
                default_cache().put(KIND, known, b"small")
        plan = _Plan(torch, next(iter(inputs.values())).device, exact)
        with torch.inference_mode():
            plan.begin(weights, {k: _pattern(torch, v) for k, v in inputs.items()})
            ends = _last_uses(steps, outputs, inputs)
            for number, step in enumerate(steps):
                plan.add(step)
                for name in ends.get(number, ()):
                    plan.end(name)
            self._inputs, self._outputs, self._template, self._calls = plan.finish(inputs, outputs)

    def __call__(self, inputs: Iterable[Any]) -> list[Any]:
        """Outputs for tensors of the shape; in inference mode."""
        values = self._template.copy()
        for at, tensor in zip(self._inputs, inputs, strict=True):
            values[at] = tensor
        for call, fetch, out, gone in self._calls:
            values[out] = call(*fetch(values))
            for at in gone:
                values[at] = None
        return [finish(values[at]) for at, finish in self._outputs]


@dataclass(slots=True)
class _Value:
    """A value while the calls are made: what it is for these inputs, and where it will stand.

    Attributes
    ----------
    base : for a view, the place of the value that it is a view of
    """

    value: Any
    at: int
    is_fixed: bool
    base: int | None = None


@dataclass
class _Plan:
    """Calls in the making: the steps run once, on numbers of no meaning, and are watched."""

    torch: Any
    device: Any
    exact: bool = True
    template: list[Any] = field(default_factory=list)
    calls: list[tuple[Callable[..., Any], list[int], int]] = field(default_factory=list)
    values: dict[str, _Value] = field(default_factory=dict)
    moving: set[int] = field(default_factory=set)
    """Places whose values come anew with each call."""
    kept: set[int] = field(default_factory=set)
    """Where the memory of inputs and of what is computed once begins."""
    convolved: tuple[int, Sequence[Any] | Convolution] | None = None
    """The place of the newest convolution, and its arguments, or what computes it."""
    joined: dict[int, tuple[int, Callable[..., Any]]] = field(default_factory=dict)
    """By the place of a rectified value, the convolution before it, and what is both."""

    def place(self, value: Any) -> int:  # noqa: ANN401
        """A new place for what always stands there."""
        self.template.append(value)
        return len(self.template) - 1

    def room(self) -> int:
        """A new place for what comes with each call."""
        at = self.place(None)
        self.moving.add(at)
        return at

    def begin(self, weights: dict[str, Any], inputs: dict[str, Any]) -> None:
        """Weights are there from the start, inputs come with each call."""
        for name, tensor in weights.items():
            self._fix(name, tensor)
        for name, tensor in inputs.items():
            self.values[name] = _Value(tensor, self.room(), is_fixed=False)
            self.kept.add(_memory(tensor))

    def end(self, name: str) -> None:
        """Let go of a value that no later step looks at."""
        self.values.pop(name, None)

    def add(self, step: Step) -> None:
        """Run a step, and write down the calls that it becomes, if any."""
        args = [self._filled(a) for a in step.args]
        named = {k: v for k, a in step.named.items() if (v := self._filled(a)) is not None}
        result = operator_of(self.torch, step.target)(*args, **named)
        takes = [self.values[name] for name in refs(step)]
        if isinstance(result, int) or all(known.is_fixed for known in takes):
            for name, value in _shared_out(step, result):
                self._fix(name, value)
            return
        same = next((known for known in takes if known.value is result), None)
        if same is not None:  # there was nothing to do
            self.values.update((name, same) for name, _ in _shared_out(step, result))
            return
        tensors = [known for known in takes if isinstance(known.value, self.torch.Tensor)]
        if len(tensors) == 1 and self._is_view(step, tensors[0].value, result):
            for name, value in _shared_out(step, result):
                self._view(name, value, tensors[0])
            return
        if not self.exact and step.target in _ALONG_TIME and not named:
            own = self._own(step, args, result)
            if own is not None:
                out = self._call(own, [self._placed(step.args[0])])
                self.convolved = (out, own)
                self.values[str(step.outputs[0])] = _Value(result, out, is_fixed=False)
                return
        call = self._fastest(step, args, named, result)
        places = [self._placed(a) for a in step.args]
        if any(any(names_in([a])) for a in step.named.values()):
            places += [self._placed(a) for a in step.named.values()]
            call = partial(_by_name, call, len(step.args), tuple(step.named))
        elif named:
            call = partial(call, **named)
        out = self._call(call, places)
        self._look_for_pair(step, takes, args, named, result, out)
        for number, (name, value) in enumerate(_shared_out(step, result)):
            at = self._call(operator.getitem, [out, self.place(number)]) if step.is_many else out
            self.values[name] = _Value(value, at, is_fixed=False)

    def _look_for_pair(
        self,
        step: Step,
        takes: Sequence[_Value],
        args: list[Any],
        named: dict[str, Any],
        result: Any,  # noqa: ANN401
        out: int,
    ) -> None:
        """A convolution and the rectifier behind it are one call of oneDNN, where that gives the same bits."""
        if (
            step.target in _CONVOLUTIONS
            and not named
            and len(args) >= 2
            and self.device.type == "cpu"
        ):
            self.convolved = (out, args)
        elif step.target == "relu.default" and self.convolved and takes[0].at == self.convolved[0]:
            before, given = self.convolved
            if isinstance(given, Convolution):
                self.joined[out] = (before, given.rectified())
                return
            both = _rectified(self.torch, given)
            if both is not None and _is_same(both(*given), result, self.torch.uint8):
                self.joined[out] = (before, both)

    def _own(self, step: Step, args: list[Any], result: Any) -> Convolution | None:  # noqa: ANN401
        """What computes a convolution whose weights are the same in each call; None where Torch does."""
        weights = [known for a in step.args[1:] for _, known in self._taken(a)]
        if not all(known.is_fixed for known in weights):
            return None
        return convolution_of(self.torch, args, result)

    def _call(self, call: Callable[..., Any], places: list[int]) -> int:
        out = self.room()
        self.calls.append((call, places, out))
        return out

    def _fix(self, name: str, value: Any) -> None:  # noqa: ANN401
        self.values[name] = _Value(value, self.place(value), is_fixed=True)
        if isinstance(value, self.torch.Tensor):
            self.kept.add(_memory(value))

    def _filled(self, value: Any) -> Any:  # noqa: ANN401
        """An argument with the values of now."""
        return told(self.torch, value, {k: v.value for k, v in self._taken(value)}, self.device)

    def _taken(self, value: Any) -> Iterable[tuple[str, _Value]]:  # noqa: ANN401
        return ((name, self.values[name]) for name in names_in([value]))

    def _placed(self, value: Any) -> int:  # noqa: ANN401
        """Where an argument will stand in a call."""
        if isinstance(value, Ref):
            return self.values[value.name].at
        if all(known.is_fixed for _, known in self._taken(value)):
            return self.place(self._filled(value))
        return self._call(_listed, [self._placed(v) for v in value])

    def _is_view(self, step: Step, have: Any, result: Any) -> bool:  # noqa: ANN401
        if step.target.split(".")[0] not in VIEWS:
            return False
        memory = _memory(have)
        return memory != 0 and all(
            value.dtype == have.dtype and _memory(value) == memory
            for _, value in _shared_out(step, result)
        )

    def _view(self, name: str, value: Any, taken: _Value) -> None:  # noqa: ANN401
        """A view straight onto the value that has the memory."""
        base = taken.at if taken.base is None else taken.base
        shape = (list(value.shape), list(value.stride()), value.storage_offset())
        out = self._call(self.torch.as_strided, [base, *map(self.place, shape)])
        self.values[name] = _Value(value, out, is_fixed=False, base=base)

    def _fastest(
        self,
        step: Step,
        args: list[Any],
        named: dict[str, Any],
        result: Any,  # noqa: ANN401
    ) -> Callable[..., Any]:
        """The function of Torch's modules of this name, where it gives the same bits as the operator."""
        slow = operator_of(self.torch, step.target)
        fast = _function_of(self.torch, step.target.split(".")[0])
        if fast is None:
            return slow
        try:
            found = fast(*args, **named)
        except (RuntimeError, TypeError, ValueError, IndexError):
            return slow
        return fast if _is_same(found, result, self.torch.uint8) else slow

    def finish(
        self, inputs: Iterable[str], outputs: Sequence[str]
    ) -> tuple[list[int], list[tuple[int, Callable[[Any], Any]]], list[Any], tuple[Call, ...]]:
        """Places of inputs, those of outputs with what is done to them at last, the values before a call, and the calls."""
        entries = [self.values[name].at for name in inputs]
        exits: list[tuple[int, Callable[[Any], Any]]] = []
        for name in outputs:
            end = self.values[name]
            memory = _memory(end.value)
            is_wide = end.value.dtype == self.torch.bfloat16  # which NumPy does not know
            exits.append((end.at, _finishes[is_wide, memory in self.kept]))
            self.kept.add(memory)
        stay = {at for at, _ in exits}.union(entries)
        self._join_pairs(stay)
        self._save_memory(stay)
        needed = {at for at, _ in exits}
        if not self.exact and len(entries) == len(exits) == 1:
            self._make_one(self.values[next(iter(inputs))], self.values[outputs[0]])
        calls: list[Call] = []
        for call, places, out in reversed(self.calls):
            if out in needed:
                gone = (self.moving & set(places)) - needed - set(entries)
                needed.update(places)
                calls.append((call, _fetcher(places), out, tuple(gone)))
        template = [value if at in needed else None for at, value in enumerate(self.template)]
        return entries, exits, template, tuple(reversed(calls))

    def _make_one(self, entry: _Value, end: _Value) -> None:
        """One call of a kernel for all, where they are a chain that it knows."""
        live = {end.at}
        chain: list[tuple[Callable[..., Any], list[int], int]] = []
        for call in reversed(self.calls):
            if call[2] in live:
                live.update(call[1])
                chain.insert(0, call)

        def fixed(at: int) -> Any:  # noqa: ANN401
            return None if at in self.moving else self.template[at]

        one = network_of(self.torch, chain, fixed, (entry.at, entry.value), (end.at, end.value))
        if one is not None:
            self.calls = [(one, [entry.at], end.at)]

    def _join_pairs(self, stay: set[int]) -> None:
        """Make one call of each pair that was found, unless somebody else looks at what lies between."""
        uses = Counter(at for _, places, _ in self.calls for at in places)
        at_of = {out: number for number, (_, _, out) in enumerate(self.calls)}
        for out, (before, both) in self.joined.items():
            if uses[before] == 1 and before not in stay:
                _, places, _ = self.calls[at_of[before]]
                self.calls[at_of[out]] = (both, places, out)

    def _save_memory(self, stay: set[int]) -> None:
        """Let functions of one value write where it stands, if nothing else looks there: the same bits, and less to move.

        Parameters
        ----------
        stay : places of inputs and outputs
        """
        uses: dict[int, int] = {}
        for _, places, _ in self.calls:
            for at in places:
                uses[at] = uses.get(at, 0) + 1
        fresh: set[int] = set()
        for number, (call, places, out) in enumerate(self.calls):
            name = getattr(call, "__name__", "")
            if name in _MAKES_NEW or isinstance(call, Convolution):
                fresh.add(out)
            elif name in _IN_PLACE and len(places) == 1:
                (at,) = places
                same = _function_of(self.torch, f"{name}_")
                if same is not None and uses[at] == 1 and at in fresh and at not in stay:
                    self.calls[number] = (same, places, out)
                    fresh.add(out)


_CONVOLUTIONS = ("conv1d.default", "conv2d.default")
_ALONG_TIME = ("conv1d.default", "conv1d.padding")
_IN_PLACE = ("relu", "sigmoid", "tanh", "silu", "hardswish", "hardsigmoid")
"""Functions of one value, which Torch also has as ones that write where it stands."""
_MAKES_NEW = (
    "conv1d", "conv2d", "conv3d", "linear", "matmul", "mm", "bmm", "addmm", "add", "sub", "mul", "div", "batch_norm",
    "layer_norm", "group_norm",
)  # fmt: skip
"""Functions whose answer never is, or looks at, one of their arguments."""

_finishes: dict[tuple[bool, bool], Callable[[Any], Any]] = {
    (False, False): lambda x: x,
    (False, True): lambda x: x.clone(),
    (True, False): lambda x: x.float(),
    (True, True): lambda x: x.float(),
}
"""What is done to an output, whether it is of 16 bits, and whether its memory is not its own."""


def _rectified(torch: Any, given: Sequence[Any]) -> Callable[..., Any] | None:  # noqa: ANN401
    """A convolution with these arguments and the rectifier behind it as one call; None: this Torch has none."""
    both = getattr(getattr(torch.ops, "mkldnn", None), "_convolution_pointwise", None)
    if both is None or any(isinstance(x, torch.Tensor) and x.dtype != torch.float32 for x in given[:3]):  # fmt: skip
        return None
    sizes = given[0].dim() - 2
    rest: list[Any] = [*given[2:], *(None, 1, 0, 1, 1)[len(given) - 2 :]]
    bias, stride, padding, dilation, groups = rest
    shape = [[x] * sizes if isinstance(x, int) else x * sizes if len(x) == 1 else x for x in (padding, stride, dilation)]  # fmt: skip

    joined = both.default

    def call(*args: Any) -> Any:  # noqa: ANN401
        return joined(args[0], args[1], bias, *shape, groups, "relu", [], "")

    try:
        call(*given)
    except (RuntimeError, AttributeError, TypeError):
        return None
    return call


def told(torch: Any, value: Any, values: dict[str, Any], device: Any) -> Any:  # noqa: ANN401
    """An argument as Torch takes it."""
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, list):
        return [told(torch, v, values, device) for v in value]
    if isinstance(value, Named):
        return getattr(torch, value.name)
    return device if isinstance(value, Device) else value


def operator_of(torch: Any, target: str) -> Callable[..., Any]:  # noqa: ANN401
    """The operator of a name that is on the list.

    Raises
    ------
    AttributeError
        this Torch has none
    """
    if target.startswith(PYTHON):
        name = target.removeprefix(PYTHON)
        return partial(_length, getattr(operator, name)) if name in LENGTHS else operator.getitem
    packet, overload = target.split(".")
    found: Callable[..., Any] = getattr(getattr(torch.ops.aten, packet), overload)
    return found


def _length(count: Callable[..., int], *given: int) -> int:
    found = count(*given)
    if abs(found) >= _LARGEST_LENGTH or not all(isinstance(n, int) for n in given):
        message = "a length of the graph is out of bounds"
        raise ValueError(message)
    return found


def _function_of(torch: Any, name: str) -> Callable[..., Any] | None:  # noqa: ANN401
    """What Torch's modules call for an operator: a function of C that takes the same arguments."""
    for home in (torch, torch._C._nn, torch.Tensor):  # noqa: SLF001  # where torch.nn.functional takes them from
        found: Callable[..., Any] | None = getattr(home, name, None)
        if type(found).__name__ in ("builtin_function_or_method", "method_descriptor"):
            return found
    return None


def _is_same(a: Any, b: Any, uint8: Any) -> bool:  # noqa: ANN401
    """Whether two answers have the same bits, in the same order of memory."""
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(_is_same(x, y, uint8) for x, y in zip(a, b, strict=True))
    if a.dtype != b.dtype or a.shape != b.shape or a.stride() != b.stride():
        return False
    is_same: bool = a.contiguous().view(-1).view(uint8).equal(b.contiguous().view(-1).view(uint8))
    return is_same


def _shared_out(step: Step, result: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    """What a step gives, by name."""
    found = result if step.is_many else (result,)
    return [(str(name), value) for name, value in zip(step.outputs, found, strict=True)]


def _memory(tensor: Any) -> int:  # noqa: ANN401
    """Where the memory of a tensor begins, that of other views on it too; 0: it has none."""
    at: int = tensor.untyped_storage().data_ptr()
    return at


def _pattern(torch: Any, tensor: Any) -> Any:  # noqa: ANN401
    """Numbers in the place of those of an input, for the answer is not wanted; whole numbers may be places, and stay."""
    if not tensor.is_floating_point():
        return tensor
    found = torch.arange(tensor.numel(), device=tensor.device) % 251 - 125
    return (found / 64).to(tensor.dtype).reshape(tensor.shape)


def _last_uses(
    steps: Sequence[Step], outputs: Sequence[str], inputs: Iterable[str]
) -> dict[int, list[str]]:
    """By the number of a step, the values that nothing looks at after it."""
    last = {
        str(name): number
        for number, step in enumerate(steps)
        for name in (*step.outputs, *refs(step))
    }
    for name in (*outputs, *inputs):
        last.pop(name, None)
    out: dict[int, list[str]] = {}
    for name, number in last.items():
        out.setdefault(number, []).append(name)
    return out


def _fetcher(places: list[int]) -> Callable[[list[Any]], Any]:
    """What takes the values of some places out of a list."""
    if len(places) > 1:
        return operator.itemgetter(*places)
    return operator.itemgetter(slice(places[0], places[0] + 1))


def _listed(*values: Any) -> list[Any]:  # noqa: ANN401
    return list(values)


def _by_name(call: Callable[..., Any], count: int, keys: tuple[str, ...], *values: Any) -> Any:  # noqa: ANN401
    """Call with the last values by name."""
    return call(*values[:count], **dict(zip(keys, values[count:], strict=True)))


def _refuse_large(
    steps: Sequence[Step],
    weights: dict[str, Any],
    inputs: dict[str, Any],
    outputs: Sequence[str],
    model: str,
) -> None:
    """Run the graph on shapes alone, and refuse what would take too much; raises ModelError."""
    import torch  # noqa: PLC0415
    from torch.utils._python_dispatch import TorchDispatchMode  # noqa: PLC0415

    class Watched(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """Sees each operator, those inside of others too."""

        count = 0

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            """Nothing is compiled here; to be skipped by the compiler would import it, which takes seconds."""
            return False

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204
            found = func(*args, **(kwargs or {}))
            self.count += 1
            if self.count > MOST_CALLS:
                raise ModelError(
                    f"model `{model}` takes more than {MOST_CALLS} operators for one answer"
                )
            for tensor in found if isinstance(found, (tuple, list)) else [found]:
                if (
                    isinstance(tensor, torch.Tensor)
                    and tensor.untyped_storage().nbytes() > MOST_BYTES
                ):
                    raise _too_large(model)
            return found

    values = {k: v.to("meta") for k, v in (*weights.items(), *inputs.items())}
    held: dict[str, int] = {}
    total = 0
    ends = _last_uses(steps, outputs, ())
    with torch.no_grad(), Watched():  # type: ignore[no-untyped-call]
        for number, step in enumerate(steps):
            args = [told(torch, a, values, "meta") for a in step.args]
            named = {k: told(torch, a, values, "meta") for k, a in step.named.items()}
            named = {k: v for k, v in named.items() if v is not None}
            if step.target in GATES:
                found = shapes(torch, step.target, args, MOST_BYTES, model)
            else:
                found = operator_of(torch, step.target)(*args, **named)
            for name, value in _shared_out(step, found):
                values[name] = value
                held[name] = _own_bytes(torch, value)
                total += held[name]
            if total > MOST_BYTES:
                raise _too_large(model)
            for name in ends.get(number, ()):
                values.pop(name, None)
                total -= held.pop(name, 0)


def _own_bytes(torch: Any, value: Any) -> int:  # noqa: ANN401
    """Memory of a value, unless it looks at that of another."""
    if not isinstance(value, torch.Tensor) or value._is_view():  # noqa: SLF001
        return 0
    return int(value.untyped_storage().nbytes())


def _too_large(model: str) -> ModelError:
    return ModelError(
        f"model `{model}` holds more than {MOST_BYTES >> 20} MiB between its operators for a batch of this size; use a "
        "smaller `batch`, or shorter frames"
    )
