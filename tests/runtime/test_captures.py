"""Keys that are read from the path of a file have the value that stands there, as text and as number."""

import numpy as np
import pyarrow as pa
import pytest

from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run

FLOW = """
source s (exp: key {kind}, v: i16) at 50 Hz from npz("exp{{exp}}.npz")
sink s | derive twice = 2 * v to arrow("out.arrow")
"""


@pytest.mark.parametrize(
    ("kind", "want"),
    [("i32", [7, 7, 12, 12]), ("u8", [7, 7, 12, 12]), ("string", ["07", "07", "12", "12"])],
)
def test_a_captured_key_has_the_value_of_its_file(tmp_path, monkeypatch, kind, want):
    monkeypatch.chdir(tmp_path)
    for name in ("07", "12"):
        np.savez(f"exp{name}.npz", v=np.arange(2, dtype=np.int16))
    Run(compile_flow(text=FLOW.format(kind=kind)))()
    with pa.memory_map("out.arrow") as file:
        made = pa.ipc.open_file(file).read_all()
    assert made["exp"].to_pylist() == want
    assert made["twice"].to_pylist() == [0, 2, 0, 2]
