"""Raw fields of a source: what is computed from them is what was read, also where a field is called `time`."""

import pyarrow as pa
import pytest
from support.flow import CATALOG

from flowedge.runtime.plan import compile_flow


def run(text, **columns):
    plan = compile_flow(text=text, catalog=CATALOG)
    (found,) = plan.run({"s": pa.table(columns)}).values()
    return {
        "time": found["time"].cast(pa.int64()).to_pylist(),
        **{n: found[n].to_pylist() for n in found.column_names if n != "time"},
    }


@pytest.mark.parametrize(
    ("kind", "values", "ns"),
    [
        ("f64 [s]", pa.array([0.5, 1.25]), [500_000_000, 1_250_000_000]),
        ("i64 [ms]", pa.array([500, 1250], pa.int64()), [500_000_000, 1_250_000_000]),
        ("i32 [s]", pa.array([1, 2], pa.int32()), [1_000_000_000, 2_000_000_000]),
    ],
)
def test_a_column_of_numbers_called_time_is_the_event_time_by_its_unit(kind, values, ns):
    found = run(
        f"source s (time: {kind}, v: f64) from given()\nsink s to expected()",
        time=values,
        v=[1.0, 2.0],
    )
    assert found == {"time": ns, "v": [1.0, 2.0]}


def test_the_clause_time_may_compute_with_a_field_called_time():
    found = run(
        "source s (time: f64 [s], v: f64) from given() time 2 * time + 1 s\nsink s to expected()",
        time=[0.5, 1.25],
        v=[1.0, 2.0],
    )
    assert found["time"] == [2_000_000_000, 3_500_000_000]
