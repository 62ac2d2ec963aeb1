"""Instructions that a row takes are those that were accepted, and what would tell otherwise does."""

import importlib
from pathlib import Path

import pytest
from support import services

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def counting():
    """`benchmarks/instructions.py` as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("instructions")


def test_no_work_takes_5_percent_more_or_fewer_instructions_than_were_accepted(counting):
    lacking = counting.lacking()
    services.require(lacking, not lacking)
    accepted, here = counting.read_accepted(), counting.versions()
    parts = counting.parts_of(counting.differing(accepted.versions, here))
    told = counting.told_of(accepted.versions, here)
    if not parts:
        pytest.skip(told)
    changes = counting.compared(counting.count(), accepted.works)
    outside = [str(c) for c in changes if c.part in parts and not c.is_within]
    assert not outside, "\n".join([
        told, *outside, "If that is meant: python benchmarks/instructions.py --accept, and commit the file with the change."
    ])  # fmt: skip


@pytest.mark.parametrize("part", ["kernels", "whole"])
@pytest.mark.parametrize(
    ("share", "is_within"), [(0.06, False), (-0.06, False), (0.04, True), (-0.04, True)]
)
def test_6_percent_fail_either_way_and_4_pass(counting, part, share, is_within):
    was = counting.Count(kernels=80, whole=120)
    now = was._replace(**{part: getattr(was, part) * (1 + share)})
    found = {c.part: c for c in counting.compared({"chain": now}, {"chain": was})}
    assert {name: c.is_within for name, c in found.items()} == {
        name: is_within or name != part for name in ("kernels", "whole")
    }
    assert f"{share:+.1%}" in str(found[part])


def test_a_work_that_was_not_accepted_or_is_not_counted_fails(counting):
    one = counting.Count(80, 120)
    changes = counting.compared({"chain": one, "new": one}, {"chain": one, "gone": one})
    assert {c.work for c in changes if c.is_within} == {"chain"}
    assert {c.work for c in changes if not c.is_within} == {"new", "gone"}
    assert [str(c) for c in changes if c.part == "whole"] == [
        "chain, whole: 120.0 instructions a row (accepted 120.0), +0.0%",
        "new, whole: 120.0 instructions a row (new)",
        "gone, whole: not counted (accepted 120.0)",
    ]


def test_another_compiler_compares_nothing_and_another_build_around_it_the_kernels(counting):
    was = {"numba": "1", "python": "3.11.7", "interpreter": "3.11.7 (GCC)"}
    assert counting.parts_of(counting.differing(was, was)) == ("kernels", "whole")
    assert counting.told_of(was, was) == ""
    built = was | {"interpreter": "3.11.7 (Clang)"}
    assert counting.parts_of(counting.differing(was, built)) == ("kernels",)
    assert "kernels alone are compared" in counting.told_of(was, built)
    assert counting.parts_of(counting.differing(was, was | {"numba": "2"})) == ()
    assert "numba is 2 and was 1: nothing is compared" in counting.told_of(was, was | {"numba": "2"})  # fmt: skip
    assert "nothing was accepted" in counting.told_of({}, was)


def test_every_work_is_accepted(counting):
    assert set(counting.read_accepted().works) == set(counting.WORKS)


def test_what_is_spent_in_a_function_called_is_counted_once_and_a_library_is_no_kernel(
    counting, tmp_path
):
    """Addresses of a library count from its start: 0x40 of one with 64 bytes and more is in it."""
    library = tmp_path / "library.so"
    library.write_bytes(bytes(0x50))
    profile = f"""# callgrind format
desc: Trigger: Client Request: join
positions: instr line
events: Ir
ob=???
fn=0x100
0x100 0 7
cob={library}
cfn=f
calls=2 0x40 0
0x104 0 500
0x104 0 7
ob={library}
fn=f
0x40 0 30
0x48 3 20
0x110 0 3
0x112 0
0x200 0 100
"""
    path = tmp_path / "counts.1"
    path.write_text(profile)
    assert counting.read(path, [(0x40, 0x120)]) == ("join", (17, 167))
