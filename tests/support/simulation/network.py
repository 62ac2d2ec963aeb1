"""The small network of `classify with`; its file stands beside.

PYTHONPATH=$PWD:$PWD/tests .venv/bin/python -m support.simulation.network makes it anew.
"""

import sys
from pathlib import Path

from flowedge.graph.catalog import ModelShape, Tensor

PATH = Path(__file__).with_name("net.pt2")
FRAME = 4
"""Samples of a frame."""
SHAPE = ModelShape((Tensor("x", (None, 2, FRAME)),), (Tensor("y", (None, 2)),))


def export():
    """Write the file, as that of the motion pipeline is written."""
    sys.path.append(str(Path(__file__).parents[3] / "pipelines"))
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415
    from train_motion import write  # noqa: PLC0415

    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6, 2)).eval()
    batch = torch.export.Dim("batch", min=1, max=512)
    write(
        torch.export.export(net, (torch.zeros(16, 2, FRAME),), dynamic_shapes=({0: batch},)), PATH
    )


if __name__ == "__main__":
    export()
