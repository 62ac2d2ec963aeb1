"""Kernels as object code: compiled, sealed, loaded by a process that has no Numba."""

import json
import math
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from flowedge.cache import Cache
from flowedge.compile import memory, native
from flowedge.compile.memory import address, f64, i64, set_f64
from flowedge.lang.errors import InternalError

DOUBLE = """
def kernel(ctx):
    x = i64(ctx, 0); y = i64(ctx, 1); n = i64(ctx, 2)
    for i in range(n):
        set_f64(y, i, f64(x, i) * 2.0)
    return n
"""


def context(*words):
    return np.array([w if isinstance(w, int) else address(w) for w in words], np.int64)


def smooth(state, x, alpha):
    (mean,) = state
    mean += alpha * (x - mean)
    return (mean,), helped(mean)


def helped(value):
    return math.sqrt(abs(value))


def test_a_kernel_computes_what_its_source_says():
    x, y = np.arange(1000.0), np.zeros(1000)
    ctx = context(x, y, 1000)
    assert native.load(native.build(DOUBLE, {}))(address(ctx)) == 1000
    np.testing.assert_array_equal(y, 2 * x)


def test_the_same_source_runs_as_plain_python():
    x, y = np.arange(10.0), np.zeros(10)
    assert native.interpreted(DOUBLE, {})(address(context(x, y, 10))) == 10
    np.testing.assert_array_equal(y, 2 * x)


def test_steps_are_plain_functions_and_bring_their_helpers():
    source = """
def kernel(ctx):
    mean = 0.0
    for i in range(i64(ctx, 2)):
        (mean,), out = step((mean,), f64(i64(ctx, 0), i), 0.25)
        set_f64(i64(ctx, 1), i, out)
    return 0
"""
    x = np.random.default_rng(1).normal(size=100)
    compiled, plain = np.zeros(100), np.zeros(100)
    native.load(native.build(source, {"step": smooth}))(address(context(x, compiled, 100)))
    native.interpreted(source, {"step": smooth})(address(context(x, plain, 100)))
    np.testing.assert_array_equal(compiled, plain)


def test_a_simple_loop_is_vectorised():
    text = native.assembly(DOUBLE, {})
    assert any(
        "pd\t" in line and ("ymm" in line or "zmm" in line) for line in text.splitlines()
    ) or ("fmul\tv" in text or "fadd\tv" in text)


def test_no_product_and_sum_are_contracted():
    source = "def kernel(ctx):\n    set_f64(ctx, 0, f64(ctx, 1) * f64(ctx, 2) + f64(ctx, 3))\n    return 0"
    assert "fmadd" not in native.assembly(source, {})


def test_the_only_visible_symbol_is_the_entry_and_the_rest_is_libm():
    source = "def other(ctx):\n    set_f64(ctx, 0, math.sin(f64(ctx, 0)) % 0.3)\n    return 7\n"
    sealed = native.build(source, {"math": math}, entry="other")
    defined, undefined = native._symbols(sealed[native._SEAL :])
    assert defined == {"other"}
    assert undefined == {"sin", "fmod"}
    x = np.array([1.25])
    assert native.load(sealed, "other")(address(x)) == 7
    assert x[0] == math.sin(1.25) % 0.3


def test_a_kernel_that_raises_says_so():
    source = "def kernel(ctx):\n    if i64(ctx, 0) == 1:\n        raise ValueError\n    return 3\n"
    kernel = native.load(native.build(source, {}))
    assert kernel(address(context(0))) == 3
    with pytest.raises(InternalError, match="raised"):
        kernel(address(context(1)))


def test_code_that_needs_numbas_runtime_is_refused_when_it_is_built():
    source = "def kernel(ctx):\n    a = np.zeros(i64(ctx, 0))\n    return len(a)\n"
    with pytest.raises(InternalError, match=r"may not.*NRT"):
        native.build(source, {"np": np})


def test_code_that_does_not_compile_is_our_fault_and_says_what():
    with pytest.raises(InternalError, match="does not compile"):
        native.build("def kernel(ctx):\n    return 'text'\n", {})


def recursive(n):
    return 0 if n == 0 else recursive(n - 1)


def test_recursion_is_refused():
    with pytest.raises(InternalError, match="calls itself"):
        native.build("def kernel(ctx):\n    return run(3)\n", {"run": recursive})


def test_damaged_object_code_never_reaches_llvm():
    sealed = native.build(DOUBLE, {})
    for place in range(0, len(sealed), 97):
        damaged = bytearray(sealed)
        damaged[place] ^= 0x10
        with pytest.raises(InternalError):
            native.load(bytes(damaged))
    for size in range(0, len(sealed), 97):
        with pytest.raises(InternalError):
            native.load(sealed[:size])
    for garbage in (b"", b"\x7fELF\x02\x01", b"\x7fELF\x02\x01" + bytes(100), b"x" * 500):
        with pytest.raises(InternalError):
            native.seal(garbage) and native.load(native.seal(garbage))


def test_an_entry_that_is_not_there_is_refused():
    with pytest.raises(InternalError, match="`other`"):
        native.load(native.build(DOUBLE, {}), "other")


def test_a_cached_kernel_runs_in_a_fresh_process_without_numba(tmp_path):
    table = "TABLE = (1.5, 2.5, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)\n"
    source = table + "def kernel(ctx):\n    return int(TABLE[i64(ctx, 0)] * 10.0)\n"
    path = tmp_path / "code"
    path.write_bytes(native.build(source, {}))
    script = f"""
import sys
from pathlib import Path
from flowedge.compile import native
code = Path({str(path)!r}).read_bytes()
native.machine()
kernel = native.load(code)
import ctypes
ctx = ctypes.c_int64(2)
assert kernel(ctypes.addressof(ctx)) == 40
assert "numba" not in sys.modules and "scipy" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert done.returncode == 0, done.stderr


def test_a_kernel_may_run_in_many_threads_at_once():
    kernel = native.load(native.build(DOUBLE, {}))
    results = []

    def work(seed):
        x, y = np.random.default_rng(seed).normal(size=50_000), np.zeros(50_000)
        ctx = context(x, y, 50_000)
        for _ in range(20):
            kernel(address(ctx))
        results.append(np.array_equal(y, 2 * x))

    threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4


def test_the_fingerprint_follows_everything_that_the_code_depends_on():
    base = native.fingerprint(DOUBLE, {"step": smooth, "c": 1.0})
    assert base == native.fingerprint(DOUBLE, {"c": 1.0, "step": smooth})
    assert base != native.fingerprint(DOUBLE + " ", {"step": smooth, "c": 1.0})
    assert base != native.fingerprint(DOUBLE, {"step": smooth, "c": 1.5})
    assert base != native.fingerprint(DOUBLE, {"step": helped, "c": 1.0})
    assert base != native.fingerprint(DOUBLE, {"step": smooth, "c": 1.0}, "other")


FOR_ANOTHER = """
import hashlib, json, sys
import llvmlite.binding as llvm
if sys.argv[2]:
    llvm.get_host_cpu_name = lambda: "generic"
    llvm.get_host_cpu_features = lambda: llvm.FeatureMap({"sse2": True})
from flowedge.compile import native, tiles
text = native.assembly(sys.argv[1], {})
code = hashlib.sha256(native.build(sys.argv[1], {})).hexdigest()
print(json.dumps([native.machine(), "ymm" in text, "zmm" in text, tiles._ROWS[0], code]))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of this kind")
def test_code_is_for_the_processor_that_numba_is_told_whatever_this_one_is():
    def made(name, features, host=""):
        told = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
        command = [sys.executable, "-c", FOR_ANOTHER, DOUBLE, host]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=os.environ | told
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    modern = made("x86-64-v3", "+avx,+avx2,+fma")
    assert modern[:4] == [["x86-64-v3", "+avx,+avx2,+fma"], True, False, 6]
    assert made("x86-64-v3", "+avx,+avx2,+fma", host="an old one") == modern
    old = made("x86-64", "")
    assert old[:4] == [["x86-64", ""], False, False, 6]
    assert made("x86-64", "+avx512f")[3] == 12


def test_a_kernel_is_compiled_once_and_then_found(tmp_path):
    store = Cache(tmp_path / "cache")
    first = native.compiled(DOUBLE, {}, store=store)
    assert native.compiled(DOUBLE, {}, store=store) == first
    assert (store.statistics.hits, store.statistics.misses, store.statistics.stored) == (1, 1, 1)
    assert store.statistics.compile_s > 0


def test_an_entry_of_the_cache_that_is_no_object_code_is_built_again(tmp_path):
    store = Cache(tmp_path / "cache")
    store.put("objects", native.fingerprint(DOUBLE, {}), b"something else")
    assert native.compiled(DOUBLE, {}, store=store) == native.build(DOUBLE, {})


CASES = {
    "f64": -1.5, "f32": 0.25, "i64": -(2**63), "u64": -1, "i32": -(2**31), "i16": -(2**15), "i8": -128,
    "u32": 2**32 - 1, "u16": 2**16 - 1, "u8": 255,
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_load_and_store_does_the_same_compiled_and_in_python(name):
    source = f"def kernel(ctx):\n    set_{name}(ctx, 3, {name}(ctx, 1))\n    return 0\n"
    for run in (native.load(native.build(source, {})), native.interpreted(source, {})):
        words = np.zeros(8, np.int64)
        memory.NAMES[f"set_{name}"](address(words), 1, CASES[name])
        run(address(words))
        assert memory.NAMES[name](address(words), 3) == CASES[name]


@pytest.mark.parametrize(
    "text",
    [
        "word(ctx + 3)", "half(ctx + 5)", "swap(i64(ctx, 1))", "fold(i64(ctx, 0), i64(ctx, 1))",
        "bits(f64(ctx, 2))", "bits(real(i64(ctx, 1)) + 0.0)", "i64(ctx, 3) + i32(ctx, 1) * u8(ctx, 9)",
    ],
)  # fmt: skip
def test_bit_work_does_the_same_compiled_and_in_python(text):
    source = f"def kernel(ctx):\n    prefetch(ctx)\n    return {text}\n"
    words = np.random.default_rng(7).integers(0, 2**62, 4)
    words[0] = -words[0]
    ctx = address(words)
    assert native.load(native.build(source, {}))(ctx) == native.interpreted(source, {})(ctx)


def test_arrays_on_addresses_and_copies_do_the_same_compiled_and_in_python():
    source = """
def kernel(ctx):
    a = array_f64(i64(ctx, 0), 4)
    b = array_i64(i64(ctx, 1), 4)
    for k in range(4):
        b[k] = int(a[k] * 2.0)
    a[0] = 9.0
    copy(i64(ctx, 1) + 24, i64(ctx, 0), 8)
    return len(a)
"""
    seen = []
    for run in (native.load(native.build(source, {})), native.interpreted(source, {})):
        a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.zeros(4, np.int64)
        assert run(address(context(a, b))) == 4
        seen.append((a.tolist(), b.tolist()))
    assert seen[0] == seen[1]
    assert seen[0][1][:3] == [2, 4, 6]
    assert seen[0][1][3] == memory.bits(9.0)


def test_twins_can_be_imported_by_name():
    x = np.array([1.0, 2.0])
    set_f64(address(x), 1, 5.0)
    assert f64(address(x), 1) == 5.0
    assert i64(address(np.array([3])), 0) == 3
