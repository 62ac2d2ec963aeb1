"""The small network of `classify with`; its file stands beside.

PYTHONPATH=$PWD:$PWD/tests .venv/bin/python -m support.simulation.network makes it anew.
"""

import io
import json
import zipfile
from pathlib import Path

from flowedge.graph.catalog import ModelShape, Tensor

PATH = Path(__file__).with_name("net.pt2")
FRAME = 4
"""Samples of a frame."""
SHAPE = ModelShape((Tensor("x", (None, 2, FRAME)),), (Tensor("y", (None, 2)),))


def export():
    """Write the file, without the traces of this machine that torch.export leaves in it."""
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6, 2)).eval()
    batch = torch.export.Dim("batch", min=1, max=512)
    frames = torch.zeros(16, 2, FRAME)
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(net, (frames,), dynamic_shapes=({0: batch},)), buffer)
    with zipfile.ZipFile(buffer) as full, zipfile.ZipFile(PATH, "w") as lean:
        for name in sorted(full.namelist()):
            data = full.read(name)
            if "/sample_inputs/" in name or name.endswith("serialization_id"):
                continue
            if name.endswith("models/model.json"):
                graph = json.loads(data)
                for node in graph["graph_module"]["graph"]["nodes"]:
                    node["metadata"] = {}
                data = json.dumps(graph, sort_keys=True).encode()
            inside = name.split("/", 1)[1]
            lean.writestr(zipfile.ZipInfo(f"net/{inside}", (1980, 1, 1, 0, 0, 0)), data)


if __name__ == "__main__":
    export()
