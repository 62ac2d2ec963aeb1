"""Where the time of a run goes: all parts of it, on the clock and of the processor."""

import pytest
from support.command import cli, read, recording

from flowedge.lang.errors import RunError
from flowedge.runtime.bench import Bench, Part, bench
from flowedge.runtime.meter import Meter
from flowedge.runtime.plan import compile_flow
from flowedge.ui.bench import table

FLOW = """
source s (time, v: f64) from arrow("in.arrow")
sink s | where v > 10 | derive w = v * 2 | window 1 s | aggregate mean(w) as m, count() as n to arrow("m.arrow") as means
sink s | where v > 30 to csv("hot.csv") as all
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "in.arrow", v=[float(i % 50) for i in range(60_000)], unit=10**7)
    (tmp_path / "p.flow").write_text(FLOW)
    return tmp_path


def test_all_parts_of_a_run_are_told(place):
    found = bench(compile_flow("p.flow"), compile_flow("p.flow", fuse=False), rounds=2)
    parts = {part.name: part for part in found.parts}
    assert found.rows == 60_000
    assert parts["read s"].rows == parts["s"].rows == 60_000
    assert parts["read s"].nbytes == 60_000 * 16
    assert parts["write all"].rows == 60_000 * 19 // 50
    assert parts["write means"].rows == 600
    assert parts["finish and show files"].nbytes == sum(
        (place / name).stat().st_size for name in ("m.arrow", "hot.csv")
    )
    assert all(part.wall_s > 0 and part.nbytes > 0 for part in found.parts)
    assert sum(part.wall_s for part in found.parts) <= found.wall_s * 1.5
    assert found.copied_bytes_s > 1e8
    stages = [part.name for part in found.stages]
    assert any("where" in name for name in stages), stages
    assert len(stages) > len([part for part in found.parts if part.name in stages])


def test_the_command_runs_the_pipeline_and_prints_a_table(place):
    assert cli("run", "p.flow", cwd=place)[0] == 0
    wanted, text = read(place / "m.arrow"), (place / "hot.csv").read_text()
    code, out, err = cli("bench", "p.flow", "--rounds", "1", cwd=place)
    assert (code, err) == (0, "")
    assert "1 runs" not in out
    assert "a copy reads and writes" in out
    assert "each stage as a node of its own" in out
    assert "of a copy" in out
    assert read(place / "m.arrow").equals(wanted)
    assert (place / "hot.csv").read_text() == text


def test_a_pipeline_without_an_end_is_refused(place):
    (place / "p.flow").write_text('source s from host(every=1 s)\nsink s to jsonl("x.jsonl")\n')
    code, _, err = cli("bench", "p.flow", cwd=place)
    assert (code, "`flowedge calibrate` measures" in err) == (3, True)
    assert cli("bench", "p.flow", "--rounds", "0", cwd=place)[0] == 2
    plan = compile_flow("p.flow")
    with pytest.raises(RunError, match="has no end"):
        bench(plan, plan)


def test_waiting_is_what_the_processor_had_no_part_in():
    now, had = [0], [0]

    def work(wall, cpu, inner=lambda: None):
        def done(*_):
            inner()
            now[0] += wall
            had[0] += cpu

        return done

    meter = Meter(lambda: now[0], lambda: had[0])
    inside = meter._measured("disk", work(90, 10))
    meter._measured("write", work(10, 8, lambda: (inside(), inside())))()
    assert {key: (s.wall_ns, s.cpu_ns) for key, s in meter.spent.items()} == {"disk": (180, 20), "write": (10, 8)}  # fmt: skip


def test_the_table_says_what_is_near_to_what_memory_can_do():
    parts = (Part("read s", 1000, 8_000_000, 0.001, 0.001), Part("s: where", 1000, 4_000_000, 0.003, 0.0015), Part("nothing", 0, 0, 0.0, 0.0))  # fmt: skip
    text = list(table(Bench(3, 16e9, 1000, 0.005, 0.004, parts, ())))
    read_, where, nothing, rest = (line.split() for line in text[3:7])
    assert read_ == ["read", "s", "1,000", "1000.0", "0%", "8000.0", "8.0", "50%", "20%"]
    assert where == ["s:", "where", "1,000", "3000.0", "50%", "4000.0", "1.3", "8%", "60%"]
    assert nothing == ["nothing", "0", "0%"]
    assert rest == ["between", "them", "0", "0%", "20%"]
    assert "200.0 k rows/s, 5000.0 ns a row; waits 20% of 5 ms" in text[-1]
    assert not any("node of its own" in line for line in text)
