"""Networks of many kinds give the bits that Torch's own loader gives, and what could harm is refused.

Recurrent layers come out of `torch.export` whole (`aten.gru.input`, `aten.lstm.input`), attention comes apart into
products and views. Quantised networks: `torch.ao.quantization.quantize_pt2e` is not part of Torch 2.13 any more (it moved to
torchao), and `torch.export` refuses the modules of `torch.ao.quantization.quantize_dynamic`, whose weights are objects of
C++; so the integer weights here are taken up to floats by the graph.
"""

import json
import warnings
import zipfile

import numpy as np
import pytest
import torch
from support.networks import NETWORKS, built, export
from torch import nn

from flowedge.lang.errors import ModelError
from flowedge.models.calls import MOST_BYTES
from flowedge.models.load import inspect, load
from flowedge.models.operators import ALLOWED, CHECKS, DRAWS, IN_PLACE, VIEWS

BATCHES = (1, 2, 16, 256)
ALIKE = {
    "cnn2d", "causal", "rnn", "gru bidirectional", "lstm bidirectional", "lstm cells", "own attention", "lookup", "activations",
    "heads", "spectrum",
}  # fmt: skip
"""Networks that are made of what others are made of, too."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=pytest.mark.slow) if n in ALIKE else n for n in NETWORKS],
)
def archive(request, tmp_path_factory):
    """A network's archive, and what draws its inputs."""
    torch.set_num_threads(1)
    network, frames = built(request.param)
    return export(network, frames, tmp_path_factory.mktemp("nets") / "net.pt2"), frames


def answers(module, inputs):
    """All outputs of a module as arrays."""
    with torch.no_grad():
        found = module(*inputs)
    return [x.numpy() for x in (found if isinstance(found, tuple) else (found,))]


def drawn(frames, batch, seed=0):
    torch.manual_seed(seed)
    return [draw(batch) for draw in frames]


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_an_archive_gives_the_bits_of_torchs_own_loader(archive):
    path, frames = archive
    ours, theirs = load(path).network, torch.export.load(path).module()
    for batch in BATCHES:
        inputs = drawn(frames, batch, batch)
        assert_same(ours([x.numpy() for x in inputs]), answers(theirs, inputs))


def test_answers_depend_on_nothing_but_the_input(archive):
    path, frames = archive
    ours, again = load(path).network, load(path).network
    one, two = (drawn(frames, 16, seed) for seed in (1, 2))
    first = ours([x.numpy() for x in one])
    kept = [x.copy() for x in first]
    other = ours([x.numpy() for x in two])
    ours([np.zeros_like(x.numpy()) for x in drawn(frames, 3)])
    assert_same(ours([_moved(x.numpy()) for x in one]), kept)  # nothing is left of calls in between
    assert_same(first, kept)  # an answer is the caller's for good
    assert_same(again([x.numpy() for x in two]), other)  # nor did the first call make a difference
    for x in first:
        x[...] = 0
    assert_same(ours([x.numpy() for x in one]), kept)


def _moved(array):
    """The same numbers elsewhere in memory, at an odd multiple of an element."""
    room = np.empty(array.size + 1, array.dtype)
    room[1:] = array.ravel()
    return room[1:].reshape(array.shape)


def test_the_shapes_of_an_archive_are_told_without_torch(archive):
    path, frames = archive
    info = inspect(path)
    for told, given in zip(info.inputs, drawn(frames, 5), strict=True):
        assert told.shape == (None, *given.shape[1:])
    with pytest.raises(ModelError, match="takes"):
        load(path).network([x.numpy()[..., None] for x in drawn(frames, 5)])


def test_a_fixed_batch_is_as_good(tmp_path):
    network, frames = built("attention")
    path = export(network, frames, tmp_path / "net.pt2", batch=4)
    inputs = drawn(frames, 4)
    wanted = answers(torch.export.load(path).module(), inputs)
    assert_same(load(path).network([x.numpy() for x in inputs]), wanted)
    with pytest.raises(ModelError, match="takes"):
        load(path).network([x.numpy() for x in drawn(frames, 5)])


def written(network, inputs, path):
    """The archive of a network for any batch, exported as it stands."""
    return export(network, tuple(lambda n, s=s: torch.randn(n, *s) for s in inputs), path)


def test_what_works_in_place_is_read_where_nobody_sees_it(tmp_path):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = (nn.Conv1d(3, 3, 3, padding=1) for _ in range(2))
            self.act = nn.ReLU(inplace=True)

        def forward(self, x):
            y = self.two(self.act(self.one(x)))
            y += x
            return self.act(y)

    torch.manual_seed(3)
    path = written(Block().eval(), [(3, 9)], tmp_path / "net.pt2")
    x = torch.randn(7, 3, 9)
    before = x.clone()
    found = load(path).network([x.numpy()])
    assert_same(found, answers(torch.export.load(path).module(), [x]))
    assert torch.equal(x, before)


class Overwrites(nn.Module):
    """Changes its input for its caller."""

    def forward(self, x):
        return x.relu_() + 1


class Grows(nn.Module):
    """A small archive that asks for 10^12 numbers."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(10**6))

    def forward(self, x):
        return (self.w[:, None] * self.w[None, :]).sum() + x


class Repeats(nn.Module):
    """Many times its input, which itself is short."""

    def forward(self, x):
        return x.repeat(1, 2**27).sum(1)


class Draws(nn.Module):
    """Chance in its answer."""

    def forward(self, x):
        return nn.functional.dropout(x, 0.5, training=True)


class Random(nn.Module):
    """Another kind of chance."""

    def forward(self, x):
        return x + torch.rand_like(x)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Grows(), "holds more than|more than .* elements"),
        (Repeats(), "holds more than|more than .* elements"),
        (Draws(), "exported for training"),
        (Random(), "not on the list"),
        (Overwrites(), "overwrites|changes"),
        (nn.Sequential(nn.BatchNorm1d(4)).train(), "changes its own weights|exported for training"),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "",
)
def test_what_takes_too_much_or_changes_things_is_refused(tmp_path, network, words):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = written(
            network, [(4,)] if not isinstance(network, Repeats) else [(1,)], tmp_path / "n.pt2"
        )
    shape = (2, 1) if isinstance(network, Repeats) else (2, 4)
    with pytest.raises(ModelError, match=words):
        load(path).network([np.zeros(shape, np.float32)])


def changed(path, out, change):
    """The archive with its graph changed."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("models/model.json"):
                model = json.loads(data)
                change(model["graph_module"]["graph"])
                data = json.dumps(model).encode()
            new.writestr(name, data)
    return out


def from_nowhere(graph):
    graph["nodes"][-1]["inputs"][0]["arg"] = {"as_tensor": {"name": "nowhere"}}


def given_by_nobody(graph):
    graph["outputs"][0]["as_tensor"]["name"] = "nowhere"


def an_object(graph):
    graph["nodes"][0]["inputs"][0]["arg"] = {"as_custom_obj": {"name": "x", "class_fqn": "y"}}


def a_text_for_a_number(graph):
    graph["nodes"][0]["inputs"][1]["arg"] = {"as_int": "__import__('os')"}


def too_few_arguments(graph):
    graph["nodes"][-1]["inputs"] = graph["nodes"][-1]["inputs"][:1]


def grown_lengths(graph):
    node = {"target": "_operator.mul", "metadata": {}, "inputs": [{"name": "a", "arg": {"as_int": 2**62}, "kind": 1}] * 2,
            "outputs": [{"as_sym_int": {"as_name": "big"}}]}  # fmt: skip
    graph["nodes"].insert(0, node)


def a_power(graph):
    grown_lengths(graph)
    graph["nodes"][0]["target"] = "_operator.pow"


def a_long_loop(graph):
    """The frame, as long as no frame is: a recurrent layer turns once for each sample."""
    node = {"target": "torch.ops.aten.repeat.default", "metadata": {}, "outputs": [{"as_tensor": {"name": "long"}}],
            "inputs": [{"name": "self", "arg": {"as_tensor": {"name": "x"}}, "kind": 1},
                       {"name": "repeats", "arg": {"as_ints": [1, 10_000, 1]}, "kind": 1}]}  # fmt: skip
    graph["nodes"].insert(0, node)
    layer = next(n for n in graph["nodes"] if n["target"].endswith("lstm.input"))
    layer["inputs"][0]["arg"]["as_tensor"]["name"] = "long"


def other_weights(graph):
    """Weights of a recurrent layer in each other's places."""
    node = next(n for n in graph["nodes"] if n["target"].endswith("lstm.input"))
    weights = node["inputs"][2]["arg"]["as_tensors"]
    weights[0], weights[2] = weights[2], weights[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (from_nowhere, "before anything makes it"),
        (given_by_nobody, "nothing makes"),
        (an_object, "not read"),
        (a_text_for_a_number, "does not understand"),
        (too_few_arguments, "fit together|failed"),
        (grown_lengths, "out of bounds"),
        (a_power, "not on the list"),
        (other_weights, "failed"),
        (a_long_loop, "turns a recurrent layer"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_graph_that_does_not_fit_together_is_told(tmp_path, change, words):
    network, frames = built("lstm")
    path = export(network, frames, tmp_path / "net.pt2")
    bad = changed(path, tmp_path / "bad.pt2", change)
    with pytest.raises(ModelError, match=words):
        load(bad).infer([x.numpy() for x in drawn(frames, 2)])


def test_the_list_of_operators_is_one_of_torch():
    for name in sorted(ALLOWED | CHECKS | set(IN_PLACE)):
        packet, overload = name.split(".")
        found = getattr(getattr(torch.ops.aten, packet), overload)
        schema, tags = found._schema, found.tags
        if name in ALLOWED and name != "detach_.default":
            assert not schema.is_mutable, name
        assert torch.Tag.nondeterministic_seeded not in tags or IN_PLACE.get(name, name) in DRAWS, (
            name
        )
        assert torch.Tag.data_dependent_output not in tags, name
        assert torch.Tag.dynamic_output_shape not in tags, name
    for name, (at, argument) in DRAWS.items():
        packet, overload = name.split(".")
        schema = getattr(getattr(torch.ops.aten, packet), overload)._schema
        assert schema.arguments[at].name == argument, name
    packets = {name.split(".")[0] for name in ALLOWED} | {"getitem"}
    assert packets >= VIEWS
    assert MOST_BYTES <= 2**28
