"""Raw fields of a source: what is computed from them is what was read, whatever they are called and hold."""

import pyarrow as pa
import pytest
from support.flow import CATALOG

from flowedge.lang.errors import SourceError
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


def test_a_duration_of_a_file_has_the_unit_in_which_it_is_stored(tmp_path):
    table = pa.table(
        {
            "time": pa.array([0, 1, 2], pa.timestamp("s", "UTC")),
            "d": pa.array([1500, 500, None], pa.duration("ms")),
        }
    )
    path = tmp_path / "durations.arrow"
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)
    text = f'source s from arrow("{path}")\nsink s | derive late = d > 1 s, x = d / 1 s to arrow("out.arrow")'
    (found,) = compile_flow(text=text, use_cache=False).run({"s": table}).values()
    assert found["d"].to_pylist() == [1500, 500, None]
    assert found["late"].to_pylist() == [True, False, False]
    assert found["x"].to_pylist()[:2] == [1.5, 0.5]
    assert found.schema.field("d").metadata[b"flowedge.unit"] == b"ms"


def test_a_duration_is_told_in_the_unit_that_is_declared():
    text = "source s (time, d: i64 [ms]) from given()\nsink s to expected()"
    time = pa.array([0, 1], pa.timestamp("s", "UTC"))
    assert run(text, time=time, d=pa.array([2000, 3000], pa.duration("us")))["d"] == [2, 3]
    with pytest.raises(SourceError, match="`d` is no whole number of ms; declare it in us"):
        run(text, time=time, d=pa.array([2000, 3500], pa.duration("us")))
