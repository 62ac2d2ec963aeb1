"""The nodes of an exported graph as steps, looked through before anything runs; needs no Torch."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flowedge.lang.errors import ModelError
from flowedge.models.operators import (
    ALLOWED,
    CHECKS,
    DRAWS,
    DTYPES,
    FORMATS,
    IN_PLACE,
    LENGTHS,
    STRIDED,
    VIEWS,
)

MOST_STEPS = 2**16
"""Operators of one graph, at most."""

ATEN = "torch.ops.aten."
PYTHON = "_operator."


@dataclass(frozen=True, slots=True)
class Ref:
    """A value of the graph, by its name: a tensor, or a length."""

    name: str


@dataclass(frozen=True, slots=True)
class Named:
    """An object of Torch, by its name in that module."""

    name: str


@dataclass(frozen=True, slots=True)
class Device:
    """Where the model runs, whatever the archive says."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operator with its arguments.

    Attributes
    ----------
    target : an ATen name such as ``relu.default``, or ``_operator.mul``
    args, named : arguments, with `Ref`, `Named` and `Device` where Torch or the graph must be asked
    outputs : names of what it gives; None where nobody looks
    is_many : it gives a sequence, one value for each of `outputs`
    """

    target: str
    args: tuple[Any, ...]
    named: dict[str, Any]
    outputs: tuple[str | None, ...]
    is_many: bool


def steps_of(graph: dict[str, Any], known: Iterable[str], model: str) -> list[Step]:
    """The nodes of a graph in order.

    Parameters
    ----------
    graph : as it stands in the archive
    known : names of inputs and weights
    model : what to call it in errors

    Raises
    ------
    ModelError
        an operator that is not on the list, one that draws at random or writes where others read, an argument
        of a kind that is not read, a value that nothing makes, or too many operators
    KeyError, TypeError, ValueError, AttributeError
        it is not what `torch.export` writes
    """
    nodes = graph["nodes"]
    if len(nodes) > MOST_STEPS:
        raise ModelError(
            f"model `{model}` has {len(nodes)} operators; at most {MOST_STEPS} are run"
        )
    steps = [step for node in nodes if (step := _step(node, model)) is not None]
    outputs = [o["as_tensor"]["name"] for o in graph["outputs"]]
    steps = list(_without_writes(steps, outputs, model))
    made = set(known)
    for step in steps:
        lacking = next((name for name in refs(step) if name not in made), None)
        if lacking is not None:
            raise ModelError(f"model `{model}` uses the value `{lacking}` before anything makes it")
        made.update(name for name in step.outputs if name is not None)
    if not made.issuperset(outputs):
        raise ModelError(f"model `{model}` gives a value that nothing makes")
    return steps


def refs(step: Step) -> Iterator[str]:
    """Names of the values that a step takes, each as often as it takes it."""
    yield from names_in(step.args)
    yield from names_in(tuple(step.named.values()))


def names_in(values: Sequence[Any]) -> Iterator[str]:
    """Names of the values that stand among arguments, and in lists of them."""
    for value in values:
        if isinstance(value, Ref):
            yield value.name
        elif isinstance(value, list):
            yield from names_in(value)


def _step(node: dict[str, Any], model: str) -> Step | None:
    target = str(node["target"])
    name = target.removeprefix(ATEN)
    is_aten = target.startswith(ATEN)
    if is_aten and name in CHECKS:
        return None
    if not is_aten and (
        not target.startswith(PYTHON) or target.removeprefix(PYTHON) not in {*LENGTHS, "getitem"}
    ):
        raise _unsafe(model, target)
    if is_aten and name not in ALLOWED and name not in IN_PLACE:
        raise _unsafe(model, target)
    args, named = [], {}
    for given in node["inputs"]:
        value = _argument(given["arg"], model)
        if given.get("kind") == 2:
            named[str(given["name"])] = value
        else:
            args.append(value)
    step = Step(
        name if is_aten else target, tuple(args), named, *_outputs(node["outputs"], model, target)
    )
    _refuse_draws(step, model)
    return step


def _unsafe(model: str, target: str) -> ModelError:
    return ModelError(
        f"model `{model}` uses the operator `{target}`, which is not on the list of safe ones"
    )


def _refuse_draws(step: Step, model: str) -> None:
    at, name = DRAWS.get(IN_PLACE.get(step.target, step.target), (0, ""))
    if name and (step.named.get(name) or (len(step.args) > at and step.args[at])):
        raise ModelError(
            f"model `{model}` was exported for training: `{step.target}` would make an answer depend on chance, or on other "
            "frames; call .eval() before torch.export"
        )


def _without_writes(steps: list[Step], outputs: list[str], model: str) -> Iterator[Step]:
    """What overwrites its argument becomes what does not; sound where nobody else reads that argument."""
    uses = Counter(name for step in steps for name in refs(step)) + Counter(outputs)
    maker: dict[str | None, str] = {}
    for step in steps:
        plain = IN_PLACE.get(step.target)
        if plain is None:
            maker.update(
                dict.fromkeys(step.outputs, step.target.removeprefix(PYTHON).split(".")[0])
            )
            yield step
            continue
        first = step.args[0] if step.args else None
        if (
            not isinstance(first, Ref)
            or uses[first.name] != 1
            or maker.get(first.name, "view") in VIEWS
        ):
            raise ModelError(
                f"model `{model}` overwrites a value that others read (`{step.target}`); leave `inplace=True` away, or export "
                "with .run_decompositions()"
            )
        maker.update(dict.fromkeys(step.outputs, plain.split(".")[0]))
        yield replace(step, target=plain)


def _outputs(
    outputs: list[dict[str, Any]], model: str, target: str
) -> tuple[tuple[str | None, ...], bool]:
    names: list[str | None] = []
    for out in outputs:
        ((kind, value),) = out.items()
        match kind:
            case "as_tensor":
                names.append(str(value["name"]))
            case "as_tensors":
                if len(outputs) > 1:
                    raise ModelError(f"model `{model}`: `{target}` gives lists, which are not read")
                return tuple(str(v["name"]) for v in value), True
            case "as_sym_int" | "as_sym_bool":
                names.append(str(value["as_name"]))
            case "as_none":
                names.append(None)
            case _:
                raise ModelError(f"model `{model}`: `{target}` gives something that is no tensor")
    return tuple(names), len(names) != 1


def _argument(arg: dict[str, Any], model: str) -> Any:  # noqa: ANN401  # as many kinds as the schema has
    ((kind, value),) = arg.items()
    match kind:
        case "as_none":
            return None
        case "as_tensor":
            return Ref(str(value["name"]))
        case "as_tensors":
            return [Ref(str(v["name"])) for v in value]
        case "as_optional_tensor":
            return _optional(value)
        case "as_optional_tensors":
            return [_optional(v) for v in value]
        case "as_nested_tensors":
            return [[Ref(str(v["name"])) for v in each] for each in value]
        case "as_int" | "as_float" | "as_bool" | "as_string":
            return _plain(value, kind)
        case "as_ints" | "as_floats" | "as_bools" | "as_strings":
            return [_plain(v, kind[:-1]) for v in value]
        case "as_int_lists" | "as_float_lists":
            return [[_plain(v, kind[:-6]) for v in each] for each in value]
        case "as_sym_int" | "as_sym_float" | "as_sym_bool":
            return _symbol(value, kind)
        case "as_sym_ints" | "as_sym_floats" | "as_sym_bools":
            return [_symbol(v, kind[:-1]) for v in value]
        case "as_scalar_type":
            if value not in DTYPES:
                raise ModelError(f"model `{model}` uses an element type that is not read")
            return Named(DTYPES[value])
        case "as_memory_format":
            return Named(FORMATS[value])
        case "as_layout" if value == STRIDED:
            return None
        case "as_device":
            return Device()
    raise ModelError(f"model `{model}` has an argument of the kind `{kind}`, which is not read")


def _optional(value: dict[str, Any]) -> Ref | None:
    return Ref(str(value["as_tensor"]["name"])) if "as_tensor" in value else None


def _symbol(value: dict[str, Any], kind: str) -> Any:  # noqa: ANN401
    if "as_name" in value:
        return Ref(str(value["as_name"]))
    plain = kind.replace("sym_", "")
    return _plain(value[plain], plain)


def _plain(value: Any, kind: str) -> int | float | bool | str:  # noqa: ANN401
    """A number or a text of the kind that it says; raises TypeError."""
    types: dict[str, Any] = {
        "as_int": int,
        "as_float": (int, float, str),
        "as_bool": bool,
        "as_string": str,
    }
    if not isinstance(value, types[kind]) or (kind == "as_int" and abs(value) >= 2**63):
        raise TypeError
    if kind == "as_float":
        return float(value)  # what is not finite stands in the archive as a text
    found: int | bool | str = value
    return found
