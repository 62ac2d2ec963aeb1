"""Whatever comes from outside, what reads it gives an answer or a sentence; and the harness sees where it does not."""

import ctypes
import time
import zlib

import msgpack
import pytest
from fuzz.guard import GROWTH, attack
from fuzz.mutate import mutated
from fuzz.targets import FIELDS, TARGETS, checkpoint, expected, payload, states
from hypothesis import given, settings
from hypothesis import strategies as st

from flowedge.compile.program import KernelSpec
from flowedge.lang.errors import CheckpointError, InternalError, SourceError
from flowedge.session.snapshot import SNAPSHOT, VERSION, unseal
from flowedge.sources.payloads import decode

FAST = {
    "grammar": 1000, "checker": 500, "format": 300, "payload": 4000, "payload_text": 3000, "payload_binary": 3000, "checkpoint": 750, "state": 750, "arrow": 1500, "parquet": 1500, "csv": 600,
    "csv_declared": 400, "jsonl": 100, "jsonl_declared": 100, "msgpack": 1000, "npz": 1000, "wav": 750, "video": 500,
    "onnx": 500, "manifest": 2500,
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_of_valid_input_do_no_harm(name):
    if name in ("wav", "video"):
        pytest.importorskip("soundfile" if name == "wav" else "av")
    target = TARGETS[name]
    seeds = target.seeds()
    report = attack(
        lambda data: expected(target.one_input, data),
        lambda number: target.make(seeds, number, 7),
        FAST[name],
        warm=tuple(seeds),
    )
    assert [(v.kind, v.number, v.data[:200], v.told) for v in report.violations] == []
    assert report.inputs == FAST[name]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS.names) | st.text(max_size=3), inner, max_size=6),
    max_leaves=30,
)  # fmt: skip


@settings(max_examples=1500)
@given(values)
def test_any_value_of_msgpack_gives_rows_or_reasons(value):
    payload(msgpack.packb(value))


@settings(max_examples=500)
@given(st.lists(st.dictionaries(st.sampled_from(FIELDS.names), values, max_size=7), max_size=5))
def test_each_reading_of_a_list_is_a_row_or_is_turned_away(readings):
    batch, bad = decode(msgpack.packb(readings), FIELDS)
    assert batch.num_rows + len(bad) == len(readings)


# ---- what was found, with the smallest input


def sealed(body):
    front = SNAPSHOT + VERSION.to_bytes(4, "little") + bytes(4) + len(body).to_bytes(8, "little")
    return front + zlib.crc32(body, zlib.crc32(front)).to_bytes(4, "little") + bytes(28) + body


@pytest.mark.parametrize(
    "body",
    [
        b"\x81\x90\x01",
        b"\x81\x80\x01",
        b"\x81\xa5\0long\x01",
        b"\x81\xa5\0long\x91\x01",
        b"\x90",
        b"",
    ],
)
def test_a_snapshot_that_is_no_state_is_refused_though_its_check_is_right(body):
    with pytest.raises(CheckpointError):
        unseal(sealed(body))


def changed(change, number=0):
    """A snapshot of the target, its state changed."""
    state = msgpack.unpackb(TARGETS["checkpoint"].seeds()[number], strict_map_key=False)
    change(state)
    return msgpack.packb(state)


def first_memory(state):
    return next(n["state"] for n in state["nodes"].values() if "records" in n["state"])


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(nodes=5),
        lambda s: s["nodes"].update({"0": []}),
        lambda s: s["nodes"]["0"].update(watermark="x"),
        lambda s: s["nodes"]["0"].update(watermark=2**63),
        lambda s: s["nodes"]["0"]["counts"].update(rows_in=None),
        lambda s: first_memory(s).update(keys=2**40),
        lambda s: first_memory(s).update(records=b"12345678"),
        lambda s: first_memory(s).update(counters=[]),
        lambda s: s.update(tables=[[]]),
    ],
    ids=["nodes", "node", "text", "beyond", "count", "keys", "records", "counters", "tables"],
)  # fmt: skip
def test_a_state_of_another_shape_is_refused(change):
    with pytest.raises(CheckpointError):
        checkpoint(changed(change))


def word(data, at, value):
    """Bytes with a word of 8 of them changed."""
    return data[:at] + (value % 2**64).to_bytes(8, "little") + data[at + 8 :]


def kernels():
    """(number of the snapshot, kernel) of all the pipelines of the target."""
    for number, (plan, _) in enumerate(states()):
        yield from ((number, n) for n in plan.program.nodes if isinstance(n, KernelSpec))


def test_a_snapshot_that_a_kernel_would_look_astray_by_is_refused():
    """Each word that is known to be bounded, in its own direction, and each count of what waits."""
    tried = 0
    for number, spec in kernels():
        parts = {"record": "records", "globals": "globals", "block": "blocks"}
        places = [
            (parts[where], at, -(2**62) if factor > 0 else 2**62)
            for terms, _, when in spec.bounds
            if when is None
            for where, at, factor in terms
            if where in parts
        ]
        places += [("globals", at, 2**31) for _, at in spec.totals]
        for part, at, value in places:

            def forge(state, spec=spec, part=part, at=at, value=value):
                memory = state["nodes"][str(spec.id)]["state"]
                memory[part] = word(memory[part], at, value)

            with pytest.raises(CheckpointError, match="its parts do not fit together"):
                checkpoint(changed(forge, number))
            tried += 1
    assert tried > 60


def waits(state):
    """The rows of the first source that wait to be in order."""
    (part,) = state["nodes"]["0"]["state"]["partitions"].values()
    return part["held"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: waits(s)["columns"].pop("v"), "other columns"),
        (lambda s: waits(s)["columns"]["v"].__setitem__(0, "<i8"), "`v` is of another type"),
        (lambda s: waits(s).update(n=1), "unequal length"),
        (lambda s: waits(s).update(time=waits(s)["time"][::-1]), "not in order of time"),
        (lambda s: waits(s).update(time=waits(s)["time"][:-8] + b"\xff" * 7 + b"\x7f"), "beyond all windows"),
        (lambda s: waits(s).update(slot=bytes(4 * waits(s)["n"])), "of other keys"),
        (lambda s: waits(s)["columns"]["\0key0"].__setitem__(2, word(waits(s)["columns"]["\0key0"][2], 0, 99)), "a text that is not there"),
        (lambda s: s["nodes"]["0"]["state"]["settle"]["unsettled"].update(slot=b"\3\0\0\0" * s["nodes"]["0"]["state"]["settle"]["unsettled"]["n"]), "a key that is not there"),
        (lambda s: s["nodes"]["0"]["counts"].update(rows_in=7), "counts of `s` do not add up"),
        (lambda s: s["pool"].update(heap=s["pool"]["heap"].replace(b"k", b"\xff")), "no UTF-8"),
        (lambda s: first_memory(s).update(touched=word(first_memory(s)["touched"], 0, 3)), "do not fit together"),
    ],
    ids=["columns", "type", "rows", "order", "time", "keys", "text", "slot", "counts", "utf8", "touched"],
)  # fmt: skip
def test_a_forged_state_is_refused_with_the_reason(change, told):
    with pytest.raises(CheckpointError, match=told):
        checkpoint(changed(change))


@pytest.mark.parametrize("place", [(1311, 0), (11_111, 0), (12_362, 0), (2112, 7)])
def test_a_parquet_file_that_ended_the_process_or_took_gigabytes_is_told(place):
    target = TARGETS["parquet"]
    seeds = target.seeds()
    report = attack(
        lambda data: expected(target.one_input, data),
        lambda _: mutated(seeds, *place),
        1,
        warm=tuple(seeds),
    )
    assert report.violations == []


# ---- the harness


def planted(harm):
    """A target that does harm at input 5 of 9."""

    def one_input(data):
        if data == b"5":
            harm()

    return attack(one_input, lambda number: b"%d" % number, 9, stall_s=3)


def spin():
    while True:
        pass


KEPT = []


@pytest.mark.parametrize(
    ("kind", "harm"),
    [
        ("traceback", lambda: {}["x"]),
        ("SIGSEGV", lambda: ctypes.string_at(0)),
        ("hang", spin),
        ("hang", lambda: time.sleep(60)),
        ("growth", lambda: KEPT.append(bytearray(b"x") * (GROWTH + (64 << 20)))),
        ("traceback", lambda: expected(lambda _: (_ for _ in ()).throw(InternalError("planted")), b"")),
    ],
    ids=["traceback", "crash", "hang", "stall", "growth", "internal"],
)  # fmt: skip
def test_a_planted_fault_is_caught_with_the_input_that_shows_it(kind, harm):
    report = planted(harm)
    assert [(v.kind, v.number, v.data) for v in report.violations] == [(kind, 5, b"5")]
    assert report.inputs == 9


def test_what_is_reported_on_purpose_is_no_violation():
    def refuses(data):
        raise SourceError(data.decode())

    assert planted(lambda: expected(refuses, b"x")).violations == []


def test_the_same_number_gives_the_same_input():
    seeds = TARGETS["payload"].seeds()
    assert [mutated(seeds, k) for k in range(50)] == [mutated(seeds, k) for k in range(50)]
    assert len({mutated(seeds, k) for k in range(500)}) > 400
