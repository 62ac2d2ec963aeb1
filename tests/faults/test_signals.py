"""Asked to stop, a run does, at whatever moment; asked twice, at once; and it goes on from there."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from support.command import cli

from flowedge.runtime.checkpoint import State

SEED = int(os.environ.get("FLOWEDGE_SEED", "1"))
TIMES = int(os.environ.get("FLOWEDGE_SIGNALS", "6"))
FLOW = """
source s from simulate.vibration(seconds=90 s)
stream w = s | window 1 s | aggregate rms(a) as r, count() as n
sink s | filter lowpass(100 Hz) to parquet("out/s", roll=8 [MB])
sink s | where a > 0 to arrow("out/late.arrow")
sink w to csv("out/w.csv")
"""
STATE = ("--checkpoint", "state", "--every", "50ms")


def outputs(place):
    out = place / "out"
    return {
        str(p.relative_to(out)): p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file() and not p.name.startswith(".")
    }


@pytest.fixture(scope="module")
def wanted(tmp_path_factory, cache_apart):
    """The outputs of a run left in peace, and how long it takes [s]."""
    place = tmp_path_factory.mktemp("peace")
    (place / "p.flow").write_text(FLOW)
    assert cli("run", "-q", "p.flow", *STATE, cwd=place)[0] == 0
    begun = time.monotonic()
    assert cli("run", "-q", "p.flow", *STATE, cwd=place)[0] == 0
    return outputs(place), time.monotonic() - begun


def start(place, *more, stdin=None, **env):
    return subprocess.Popen(
        [sys.executable, "-m", "flowedge", "run", "p.flow", *STATE, *more], cwd=place, stdin=stdin,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **env},
    )  # fmt: skip


def ended(run):
    """The exit code, and what it complained of; a run that hangs is a failure."""
    try:
        _, err = run.communicate(timeout=120)
    finally:
        run.kill()
    assert "Traceback" not in err, err
    return run.returncode, err


def until(run, condition):
    while run.poll() is None and not condition():
        time.sleep(0.002)


def has_checkpoint(place):
    return lambda: (place / "state").is_dir() and any((place / "state").glob("checkpoint-*"))


def has_all_rows(place):
    """The last checkpoint but one is made; files that show at the end are being written."""
    return lambda: (place / "out").is_dir() and any((place / "out").glob(".*late*"))


@pytest.mark.parametrize(
    ("threads", "number"),
    [
        ("1", signal.SIGINT),
        ("3", signal.SIGTERM),
        *(
            pytest.param(*x, marks=pytest.mark.slow)
            for x in (
                ("1", signal.SIGHUP),
                ("1", signal.SIGTERM),
                ("3", signal.SIGINT),
                ("3", signal.SIGHUP),
            )
        ),
    ],
)
def test_a_run_that_is_asked_to_stop_goes_on_to_the_same_bytes(tmp_path, wanted, number, threads):
    (tmp_path / "p.flow").write_text(FLOW)
    ends = os.openpty()  # without a terminal SIGHUP would bring another pipeline
    run = start(tmp_path, "--threads", threads, stdin=ends[1])
    until(run, has_checkpoint(tmp_path))
    run.send_signal(number)
    code, err = ended(run)
    for end in ends:
        os.close(end)
    assert (code, "run the same command again" in err) == (130, True), err
    assert cli("run", "-q", "p.flow", *STATE, cwd=tmp_path)[0] == 0
    assert outputs(tmp_path) == wanted[0]


@pytest.mark.parametrize(
    ("threads", "kind"),
    [
        ("1", "once"),
        ("3", "twice"),
        *(pytest.param(*x, marks=pytest.mark.slow) for x in (("1", "twice"), ("3", "once"))),
    ],
)
def test_signals_at_any_moment_lose_nothing(tmp_path, wanted, threads, kind):
    """From before the first line of the program until after the last file is shown."""
    (tmp_path / "p.flow").write_text(FLOW)
    rng = random.Random(f"{SEED} {threads} {kind}")
    stopped = 0
    for turn in range(TIMES):
        run = start(tmp_path, "--threads", threads)
        # A part of the whole, from the start of Python on; the rest a run does in what is left.
        time.sleep(rng.random() * (wanted[1] / 2 + 0.2))
        for _ in range(1 + (kind == "twice")):
            run.send_signal(rng.choice([signal.SIGINT, signal.SIGTERM]))
            if kind == "twice":
                time.sleep(rng.random() * 0.02)
        code, err = _ended_somehow(run)
        assert code in (0, 130, -signal.SIGINT, -signal.SIGTERM), (turn, code, err)
        stopped += code != 0
        seen = {n: b for n, b in outputs(tmp_path).items() if "_manifest" not in n}
        assert seen.items() <= wanted[0].items()
    assert stopped
    code, _, err = cli("run", "-q", "p.flow", *STATE, cwd=tmp_path)
    assert code == 0, err
    assert outputs(tmp_path) == wanted[0]


def _ended_somehow(run):
    """As `ended`; but Python itself may be asked while it starts, and says so in its own way."""
    try:
        _, err = run.communicate(timeout=120)
    finally:
        run.kill()
    if "Traceback" in err:
        assert "KeyboardInterrupt" in err
        if "Exception ignored" in err and run.returncode == 0:
            return 0, err  # it was asked inside a finalizer, where Python lets nothing out
        assert run.returncode in (1, -signal.SIGINT, 130), err
        return 130, err
    return run.returncode, err


def test_while_the_files_of_the_end_are_written_it_stops_too(tmp_path, wanted):
    (tmp_path / "p.flow").write_text(FLOW)
    run = start(tmp_path)
    until(run, has_all_rows(tmp_path))
    run.send_signal(signal.SIGTERM)
    code, err = ended(run)
    assert code in (0, 130), err
    assert cli("run", "-q", "p.flow", *STATE, cwd=tmp_path)[0] == 0
    assert outputs(tmp_path) == wanted[0]


STUCK = """
    import os, sys, threading
    from flowedge.sinks.disk import Disk
    from flowedge.cli import main

    real = Disk.sync

    def stuck(self, descriptor):
        is_mine = "3" not in sys.argv or threading.current_thread() is not threading.main_thread()
        if is_mine and any("checkpoint" in name for name in os.listdir("state")):
            print("stuck", flush=True)
            os.read(os.pipe()[0], 1)  # as a disk that does not answer
        real(self, descriptor)

    Disk.sync = stuck
    sys.argv = ["flowedge", "run", "p.flow", "--checkpoint", "state", "--every", "50ms", *sys.argv[1:]]
    main()
"""


@pytest.mark.parametrize("threads", ["1", "3"])
def test_a_second_signal_ends_a_run_whose_disk_does_not_answer(tmp_path, wanted, threads):
    (tmp_path / "p.flow").write_text(FLOW)
    run = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(STUCK), "--threads", threads],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdout.readline() == "stuck\n"
    run.send_signal(signal.SIGTERM)
    run.send_signal(signal.SIGINT)
    code, err = ended(run)
    assert code == 130
    assert "interrupted" in err
    assert cli("run", "-q", "p.flow", *STATE, cwd=tmp_path)[0] == 0
    assert outputs(tmp_path) == wanted[0]


def test_a_hang_up_that_is_ignored_stays_so(tmp_path):
    """As `nohup` does it."""
    (tmp_path / "p.flow").write_text(FLOW)
    ignoring = "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); from flowedge.cli import main; sys.argv[:1] = ['flowedge']; main()"
    run = subprocess.Popen(
        [sys.executable, "-c", ignoring, "run", "-q", "p.flow", *STATE],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(run, has_checkpoint(tmp_path))
    run.send_signal(signal.SIGHUP)
    assert ended(run)[0] == 0


def test_with_a_page_it_gives_the_terminal_back(tmp_path, wanted):
    (tmp_path / "p.flow").write_text(FLOW)
    main, other = os.openpty()
    run = subprocess.Popen(
        [sys.executable, "-m", "flowedge", "run", "p.flow", "--ui", *STATE],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=other, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(other)
    os.set_blocking(main, False)
    shown = bytearray()

    def seen():
        with contextlib.suppress(OSError):
            shown.extend(os.read(main, 1 << 16))
        return has_checkpoint(tmp_path)()

    try:
        until(run, seen)
        run.send_signal(signal.SIGTERM)
        until(run, lambda: seen() and False)
        seen()
        assert run.wait(60) == 130
    finally:
        run.kill()
        os.close(main)
    assert b"\x1b[?1049h" in shown
    assert shown.rfind(b"\x1b[?1049l") > shown.rfind(b"\x1b[?1049h")
    assert cli("run", "-q", "p.flow", *STATE, cwd=tmp_path)[0] == 0
    assert outputs(tmp_path) == wanted[0]


def test_a_reader_of_the_console_that_leaves_is_told_in_a_sentence(tmp_path):
    text = 'source s from simulate.vibration(seconds=60 s)\nsink s to console\nsink s to arrow("out/o.arrow") as o\n'
    (tmp_path / "p.flow").write_text(text)
    run = start(tmp_path)
    run.stdout.readline()
    run.stdout.close()
    with run.stderr:
        err = run.stderr.read()
    assert run.wait(120) == 3
    assert "the program that read the output has ended" in err
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    assert not outputs(tmp_path)


def test_a_summary_that_nobody_reads_is_no_failure(tmp_path):
    text = 'source s from simulate.vibration(seconds=1 s)\nsink s to arrow("out/o.arrow")\n'
    (tmp_path / "p.flow").write_text(text)
    run = start(tmp_path)
    run.stdout.close()
    with run.stderr:
        err = run.stderr.read()
    assert run.wait(120) == 0, err
    assert "Exception ignored" not in err
    assert "o.arrow" in outputs(tmp_path)


# ---- the lock


def test_the_holder_of_a_state_is_named_with_what_it_runs_and_since_when(tmp_path, wanted):
    (tmp_path / "p.flow").write_text(FLOW)
    state = State(tmp_path / "state", pipeline="p.flow")
    try:
        code, _, err = cli("run", "p.flow", "--checkpoint", "state", cwd=tmp_path)
    finally:
        state.close()
    assert code == 4
    assert f"held by process {os.getpid()} (p.flow) since 2" in err


def test_a_holder_that_was_killed_does_not_block(tmp_path, wanted):
    (tmp_path / "p.flow").write_text(FLOW)
    run = start(tmp_path)
    until(run, has_checkpoint(tmp_path))
    run.kill()
    run.communicate()
    assert f"process {run.pid}" in (tmp_path / "state" / "lock").read_text()
    code, _, err = cli("run", "-q", "p.flow", *STATE, cwd=tmp_path)
    assert code == 0, err
    assert outputs(tmp_path) == wanted[0]


def test_only_one_of_many_runs_on_a_state_goes_on(tmp_path, wanted):
    (tmp_path / "p.flow").write_text(FLOW)
    runs = [start(tmp_path) for _ in range(3)]
    codes = sorted(ended(run)[0] for run in runs)
    assert codes[0] == 0
    assert set(codes) <= {0, 4}
    assert outputs(tmp_path) == wanted[0]
