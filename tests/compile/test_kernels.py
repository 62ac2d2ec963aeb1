"""Library kernels against plain NumPy, compiled and as plain Python."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowedge.cache import Cache
from flowedge.compile import native
from flowedge.compile.kernels import columns
from flowedge.compile.kernels.hashing import compare_bytes, equal_bytes, hash_bytes
from flowedge.compile.kernels.library import ready
from flowedge.compile.memory import address, i64
from flowedge.compile.program import DONE


def compared(ctx):
    return compare_bytes(i64(ctx, 0), i64(ctx, 1), i64(ctx, 2), i64(ctx, 3))


def alike(ctx):
    return 1 if equal_bytes(i64(ctx, 0), i64(ctx, 2), i64(ctx, 1)) else 0


def hashed(ctx):
    return hash_bytes(i64(ctx, 0), i64(ctx, 1), i64(ctx, 4))


def test_a_library_kernel_is_compiled_once(tmp_path):
    store = Cache(tmp_path / "cache")
    kernel = ready(hashed, store)
    assert ready(hashed, store) is kernel


@given(a=st.binary(max_size=40), b=st.binary(max_size=40), shared=st.binary(max_size=20))
def test_bytes_compare_and_hash_as_in_python(a, b, shared):
    a, b = shared + a, shared + b
    x, y = (np.frombuffer(v + b"?", np.uint8) for v in (a, b))
    ctx = np.array([address(x), len(a), address(y), len(b), 99], np.int64)
    for run in (ready(compared), compared):
        found = run(address(ctx))
        assert (found > 0) - (found < 0) == (a > b) - (a < b)
    if len(a) == len(b):
        assert ready(alike)(address(ctx)) == alike(address(ctx)) == (a == b)
    assert ready(hashed)(address(ctx)) == hashed(address(ctx))


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 64, 1000])
@pytest.mark.parametrize("first", [0, 1, 7, 8, 13])
def test_missing_values_take_their_place(rows, first):
    rng = np.random.default_rng(rows * 100 + first)
    mask = rng.random(rows) < 0.3
    whole = pa.array(
        np.r_[np.zeros(first), rng.normal(size=rows)], mask=np.r_[np.zeros(first, bool), mask]
    )
    bits = None if whole.buffers()[0] is None else np.frombuffer(whole.buffers()[0], np.uint8)
    values = np.frombuffer(whole.buffers()[1], np.float64)[first : first + rows]
    np.testing.assert_array_equal(
        columns.floats(values, bits, first), np.where(mask, np.nan, values)
    )
    for kind in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32):
        numbers = rng.integers(0, 100, rows).astype(kind)
        np.testing.assert_array_equal(
            columns.integers(numbers, bits, first),
            np.where(mask if bits is not None else False, -(2**63), numbers.astype(np.int64)),
        )
    flags = rng.random(rows) < 0.5
    array = pa.array(np.r_[np.zeros(first, bool), flags], mask=np.r_[np.zeros(first, bool), mask])
    validity, data = array.buffers()
    np.testing.assert_array_equal(
        columns.bools(
            np.frombuffer(data, np.uint8),
            rows,
            None if validity is None else np.frombuffer(validity, np.uint8),
            first,
        ),
        np.where(mask, 2, flags),
    )


def test_a_column_without_missing_floats_is_not_copied():
    values = np.arange(5.0)
    assert columns.floats(values, None) is values


@pytest.mark.parametrize("rows", [0, 5, 5000])
@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize(
    "column",
    ["float64", "float32", "int16", "uint8", "3 float64", "3 float32", "5 uint8", "2x3 int64"],
)
def test_rows_are_picked_by_number(rows, kind, column):
    *shape, dtype = column.split(" ")
    shape = tuple(int(s) for s in shape[0].split("x")) if shape else ()
    rng = np.random.default_rng(3)
    values = rng.integers(0, 100, (300, *shape)).astype(dtype)
    index = rng.integers(0, 300, rows).astype(kind)
    np.testing.assert_array_equal(columns.take(values, index), values[index])
    out = np.zeros((rows, *shape), dtype)
    assert columns.take(values, index, out) is out
    np.testing.assert_array_equal(out, values[index])


def test_the_gather_does_the_same_in_plain_python():
    rng = np.random.default_rng(4)
    for dtype in ("float64", "float32", "int16", "uint8"):
        for kind in (np.int32, np.int64):
            values = rng.integers(0, 100, 50).astype(dtype)
            index, out = rng.integers(0, 50, 20).astype(kind), np.zeros(20, dtype)
            ctx = np.array(
                [20, address(values), address(out), address(index), index.itemsize, out.itemsize]
            )
            assert columns.gather(address(ctx)) == DONE
            np.testing.assert_array_equal(out, values[index])


def test_times_that_go_back_are_seen():
    assert columns.is_ordered(np.array([], np.int64))
    assert columns.is_ordered(np.array([3]))
    assert columns.is_ordered(np.array([1, 1, 2]))
    assert not columns.is_ordered(np.array([1, 3, 2]))


def test_the_second_process_needs_no_numba(tmp_path):
    script = """
import sys
import numpy as np
from flowedge.session.keys import KeyTable
from flowedge.session.strings import StringPool
pool = StringPool([f"name {k}" for k in range(5000)])
again = pool.arrow(np.arange(-1, 3000))
assert pool.intern(pool.arrow(np.array([5, -1]), again.type)).tolist() == [5, -1]
table = KeyTable([False, True], pool)
table.slots([np.arange(3001), pool.intern(again)])
assert pool.intern(again.dictionary_encode()).tolist() == list(range(-1, 3000))
table.order()
far = KeyTable([False])
far.slots([np.arange(50_000)])
from flowedge.compile.kernels.columns import take
take(np.arange(9.0), np.zeros(5000, np.int32))
assert "pandas" not in sys.modules
print("numba" in sys.modules, "scipy" in sys.modules)
"""
    seen = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=Path.cwd(),
            env={**os.environ, "FLOWEDGE_CACHE": str(tmp_path / "cache")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        seen.append(done.stdout.strip())
    assert seen[0].startswith("True")
    assert seen[1] == "False False"


def test_library_kernels_call_nothing_but_the_c_library():
    code = native.compiled("def kernel(ctx):\n    return run(ctx)\n", {"run": columns.gather})
    _, undefined = native._symbols(code[native._SEAL :])
    assert undefined <= native.LIBM
