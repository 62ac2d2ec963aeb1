"""Graphs and weights that do not fit, or ask for what no network needs."""

import numpy as np
from models.hostile.made import Case, archive, changed, good, with_parts

CONFIG = "data/weights/model_weights_config.json"


def _sizes(*sizes, strides=None, offset=0):
    def change(told):
        meta = next(iter(told["config"].values()))["tensor_meta"]
        meta["sizes"] = [{"as_int": n} for n in sizes]
        meta["strides"] = [{"as_int": n} for n in (strides or [1] * len(sizes))]
        meta["storage_offset"] = {"as_int": offset}

    return change


def graphs(folder, _marker):
    """Ways in through the graph and the weights of a `.pt2`."""
    members = good(folder)
    name = next(n for n in members if n.endswith("/weights/weight_0"))

    def target(text):
        def change(told):
            told["graph_module"]["graph"]["nodes"][0]["target"] = text

        return archive(changed(members, "models/model.json", change))

    def weight(*sizes, **more):
        return archive(changed(members, CONFIG, _sizes(*sizes, **more)))

    def graph(data):
        return with_parts(members, {"models/model.json": data})

    nan = np.frombuffer(members[name], np.float32).copy()
    nan[0] = np.nan
    yield Case(
        "an operator that opens files", target("torch.ops.aten.from_file.default"), "from_file"
    )
    yield Case("an operator that evaluates", target("builtins.eval"), "builtins.eval")
    yield Case("2^62 elements", weight(2**31, 2**31), "more than 268435456 elements")
    yield Case(
        "a shape whose product wraps around", weight(2**32, 2**32), "more than 268435456 elements"
    )
    yield Case("a length below zero", weight(-4, 3), "with a length below zero")
    yield Case(
        "strides beyond the bytes",
        weight(3, 4, strides=[2**40, 2**61]),
        "strides that lead outside its 48 bytes",
    )
    yield Case("strides below zero", weight(3, 4, strides=[-4, 1]), "strides below zero")
    yield Case(
        "an offset beyond the bytes",
        weight(3, 4, strides=[4, 1], offset=2**50),
        "begins at element 1125899906842624",
    )
    yield Case(
        "strides of zero over a huge shape",
        weight(2**14, 2**14, strides=[0, 0]),
        "spreads 48 bytes over",
    )
    yield Case(
        "a weight that is no number", archive({**members, name: nan.tobytes()}), "not finite"
    )
    yield Case(
        "a weight that is too short", archive({**members, name: members[name][:5]}), "4 bytes of 48"
    )
    yield Case("deep JSON", graph(b"[" * 200_000), "nested too deeply")
    yield Case("JSON of another thing", graph(b"[1, 2]"), "is no graph")
    yield Case(
        "a graph of another thing", graph(b'{"graph_module": {"graph": 1}}'), "does not understand"
    )
    yield Case(
        "a graph without an end", graph(b'{"a": ' * 50), "ends in the middle, after 300 bytes"
    )
    yield Case("a graph that is no JSON", graph(b"graph():"), "is no JSON")
    yield Case(
        "a giant JSON", graph(b'{"a": [' + b"0," * 40_000_000 + b"0]}"), "larger than 16 MiB"
    )
    yield Case(
        "lists of nothing",
        graph(b'{"a": [' + b"[]," * 5_000_000 + b"0]}"),
        "more than 524288 values",
    )
    yield Case(
        "an archive in an archive",
        graph(archive({"x": b"{}"})),
        "in the place of its part `models/model.json`, a zip archive",
    )
    yield Case(
        "a graph that is a pickle",
        graph(b"\x80\x04N."),
        "in the place of its part `models/model.json`, a pickle",
    )
    yield Case(
        "no graph at all",
        archive({n: d for n, d in members.items() if "models/" not in n}),
        "lacks its part",
    )
