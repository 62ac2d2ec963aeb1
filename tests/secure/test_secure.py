"""Signed outputs, encrypted Parquet, authenticated checkpoints, pipelines that must be signed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support.command import cli, read, recording

from flowedge.lang.errors import SecretError, SourceError
from flowedge.sources import catalog

FLOW = """
source s (time, v: f64) from arrow("in.arrow")
sink s to parquet("out/parts", roll=2 s)
sink s to arrow("out/whole.arrow") as whole
"""


@pytest.fixture
def place(tmp_path):
    recording(tmp_path / "in.arrow")
    (tmp_path / "p.flow").write_text(FLOW)
    assert cli("key", "new", "k", cwd=tmp_path)[0] == 0
    return tmp_path


def run(place, *more, flow="p.flow", **env):
    return cli("run", "-q", flow, *more, cwd=place, **env)


# ---- keys


def test_a_key_is_for_its_owner_alone_and_not_written_over(place):
    assert (place / "k").stat().st_mode & 0o077 == 0
    assert "PRIVATE" in (place / "k").read_text()
    assert "PUBLIC" in (place / "k.pub").read_text()
    code, _, err = cli("key", "new", "k", cwd=place)
    assert (code, "is there already" in err) == (3, True)
    (place / "k").chmod(0o644)
    code, _, err = run(place, "--sign", "k")
    assert (code, "chmod 600 k" in err) == (3, True)
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("nothing", "cannot read the secret in `nothing`"),
        ("env:NOTHING", "the environment has no `NOTHING`"),
        ("credential:x", "systemd sets CREDENTIALS_DIRECTORY"),
        ("junk", "holds no private key"),
    ],
)
def test_what_is_no_key_is_told(place, reference, words):
    (place / "junk").write_text("geheim")
    (place / "junk").chmod(0o600)
    code, _, err = run(place, "--sign", reference)
    assert (code, words in err) == (3, True), err
    assert "geheim" not in err


def test_a_key_may_come_from_the_environment_or_from_systemd(place):
    pem = (place / "k").read_text()
    assert run(place, "--sign", "env:K", K=pem)[0] == 0
    for reference in ("credential:k", "systemd:k"):
        code, _, err = run(place, "--sign", reference, CREDENTIALS_DIRECTORY=str(place))
        assert code == 0, err
    code, _, err = run(place, "--sign", "credential:../k", CREDENTIALS_DIRECTORY=str(place))
    assert (code, "no name of a credential" in err) == (3, True)


# ---- outputs


def test_what_was_written_is_verified(place):
    assert run(place, "--sign", "k")[0] == 0
    code, out, err = cli("verify", "out", "--key", "k.pub", cwd=place)
    assert code == 0, err
    assert out.count("every file is as it was written") == 2
    assert out.count("signed by") == 2
    code, out, _ = cli("verify", "out/whole.arrow", cwd=place)
    assert (code, "1 file, 5 rows" in out) == (0, True)
    told = json.loads((place / "out/_manifest/whole.arrow.json").read_text())
    assert told["sources"] == {"s": {"address": "arrow in.arrow", "rows": 5}}
    assert len(told["pipeline"]) == 64


def parts(place):
    return sorted((place / "out/parts").glob("part-*"))


def flip(place):
    path = parts(place)[1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def exchange(place):
    a, b, *_ = parts(place)
    one, other = a.read_bytes(), b.read_bytes()
    a.write_bytes(other)
    b.write_bytes(one)


def listed(change):
    def harm(place):
        path = place / "out/parts/_manifest/part.json"
        told = json.loads(path.read_text())
        change(told)
        path.write_text(json.dumps(told))

    return harm


HARM = {
    "a flipped bit": (flip, "CHANGED  part-00001.parquet"),
    "a file gone": (lambda p: parts(p)[1].unlink(), "REMOVED  part-00001.parquet"),
    "a file more": (lambda p: (p / "out/parts/part-00007.parquet").write_bytes(b"x"), "ADDED    part-00007.parquet"),
    "two files exchanged": (exchange, "EXCHANGE part-00000.parquet holds what part-00001.parquet should hold"),
    "lines exchanged": (listed(lambda t: t["files"].reverse()), "REORDER"),
    "a line gone": (listed(lambda t: t["files"].pop()), "the signature does not fit"),
    "another number of rows": (listed(lambda t: t["files"][0].update(rows=7)), "REORDER  the chain breaks"),
    "another pipeline": (listed(lambda t: t.update(pipeline="0" * 64)), "the signature does not fit"),
    "no signature": (listed(lambda t: t.pop("signature")), "UNSIGNED"),
    "a list of nothing": (lambda p: (p / "out/parts/_manifest/part.json").write_text("{"), "DAMAGED"),
    "a name that leads out": (listed(lambda t: t["files"][0].update(path="../../k")), "no run could have written"),
    "a file made to look old": (listed(lambda t: t["earlier"].append({**t["files"][0], "path": "part-9.parquet"})), "does not fit"),
}  # fmt: skip


@pytest.mark.parametrize("what", HARM)
def test_every_change_is_told(place, what):
    assert run(place, "--sign", "k")[0] == 0
    harm, words = HARM[what]
    harm(place)
    code, out, _ = cli("verify", "out", "--key", "k.pub", cwd=place)
    assert code == 5
    assert words in out


def test_another_key_is_told(place):
    assert run(place, "--sign", "k")[0] == 0
    assert cli("key", "new", "other", cwd=place)[0] == 0
    code, out, _ = cli("verify", "out", "--key", "other.pub", cwd=place)
    assert (code, "FOREIGN" in out) == (5, True)


def test_a_sink_may_name_its_own_key(place):
    (place / "p.flow").write_text(FLOW.replace(" as whole", ' as whole signed by "k"'))
    assert run(place)[0] == 0
    assert cli("verify", "out/whole.arrow", "--key", "k.pub", cwd=place)[0] == 0
    assert cli("verify", "out/parts", "--key", "k.pub", cwd=place)[0] == 5


def test_nothing_to_verify_is_told(place):
    code, _, err = cli("verify", "in.arrow", cwd=place)
    assert (code, "knows `in.arrow`" in err) == (3, True)
    code, _, err = cli("verify", ".", cwd=place)
    assert (code, "holds no list" in err) == (3, True)


# ---- pipelines


def test_only_what_is_signed_is_run(place):
    code, _, err = run(place, "--require-signed", "k.pub")
    assert (code, "is not signed" in err) == (5, True)
    assert cli("key", "sign", "p.flow", "--key", "k", cwd=place)[0] == 0
    assert run(place, "--require-signed", "k.pub")[0] == 0
    assert cli("verify", "p.flow", "--key", "k.pub", cwd=place)[0] == 0
    (place / "p.flow").write_text(FLOW + "# more\n")
    code, _, err = run(place, "--require-signed", "k.pub")
    assert (code, "has been changed since it was signed" in err) == (5, True)
    assert cli("key", "new", "other", cwd=place)[0] == 0
    assert cli("key", "sign", "p.flow", "--key", "other", cwd=place)[0] == 0
    code, _, err = run(place, "--require-signed", "k.pub")
    assert (code, "signed with another key" in err) == (5, True)


def test_what_is_imported_must_be_signed_too(place):
    (place / "m.flow").write_text("def low() = where v < 2\n")
    (place / "p.flow").write_text(
        'import "m.flow"\n' + FLOW.replace("sink s to arrow", "sink s | low to arrow")
    )
    assert cli("key", "sign", "p.flow", "--key", "k", cwd=place)[0] == 0
    for _ in range(2):  # with the plan in the cache or not
        code, _, err = run(place, "--require-signed", "k.pub")
        assert (code, "m.flow` is not signed" in err) == (5, True), err
        assert run(place)[0] == 0
    assert cli("key", "sign", "m.flow", "--key", "k", cwd=place)[0] == 0
    assert run(place, "--require-signed", "k.pub")[0] == 0


# ---- encryption


SECRET = """
source s (time, v: f64) from arrow("in.arrow")
sink s to parquet("out/s.parquet", encrypt=secret("file:e"))
"""
BACK = """
source s (time, v: f64) from parquet("out/s.parquet"{option})
sink s to arrow("back.arrow")
"""


@pytest.fixture
def hidden(place):
    assert cli("key", "new", "e", "--encryption", cwd=place)[0] == 0
    (place / "p.flow").write_text(SECRET)
    (place / "b.flow").write_text(BACK.replace("{option}", ', decrypt=secret("file:e")'))
    (place / "n.flow").write_text(BACK.replace("{option}", ""))
    return place


def test_encrypted_parquet_comes_back_with_the_key_alone(hidden):
    assert run(hidden)[0] == 0
    code, _, err = run(hidden, flow="b.flow")
    assert code == 0, err
    assert read(hidden / "back.arrow")["v"].to_pylist() == [0, 1, 2, 3, 4]
    code, out, err = run(hidden, flow="n.flow")
    assert (code, "is encrypted" in out + err) == (1, True), err
    assert cli("inspect", "out/s.parquet", cwd=hidden)[0] == 3
    code, out, _ = cli("inspect", "out/s.parquet", "--key", "file:e", cwd=hidden)
    assert (code, "5 rows" in out) == (0, True)
    (hidden / "e").write_bytes(os.urandom(32))
    code, out, err = run(hidden, flow="b.flow")
    assert code in (1, 3)
    assert "the key does not fit" in out + err


def test_no_flipped_byte_of_an_encrypted_file_gives_other_rows(hidden):
    assert run(hidden)[0] == 0
    path = hidden / "out/s.parquet"
    whole = path.read_bytes()
    found = 0
    for at in range(4, len(whole) - 8, 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        source = catalog.get("parquet")(str(path), decrypt=f"file:{hidden / 'e'}")
        try:
            rows = [v for batch, _ in source.batches() for v in batch["v"].to_pylist()]
        except (SourceError, SecretError):
            found += 1
        else:  # names of keys, which nothing depends on
            assert rows == [0, 1, 2, 3, 4]
    assert found > 0.8 * (len(whole) - 12) / 7


def test_a_plain_key_in_a_pipeline_is_refused(hidden):
    (hidden / "p.flow").write_text(
        SECRET.replace('secret("file:e")', '"0123456789abcdef0123456789abcdef"')
    )
    code, out, _ = cli("check", "p.flow", cwd=hidden)
    assert (code, "secret(" in out) == (1, True)


def test_no_secret_is_told_anywhere(hidden):
    """Not in reports, checkpoints, logs, explanations, lists, the plan cache or errors."""
    flow = (
        SECRET.replace('in.arrow")', 'in.arrow") late 1 s')
        + 'sink s to arrow("out/a.arrow") signed by "env:SIGNING"\n'
    )
    (hidden / "p.flow").write_text(flow.replace("file:e", "env:HIDING"))
    secrets = {"HIDING": (hidden / "e").read_text().strip(), "SIGNING": (hidden / "k").read_text()}
    cache = {"FLOWEDGE_CACHE": str(hidden / "cache")}
    (hidden / "e").unlink()
    (hidden / "k").unlink()
    told = []
    told += cli("explain", "p.flow", cwd=hidden, **secrets, **cache)[1:]
    told += cli(
        "run",
        "p.flow",
        "--sign",
        "env:SIGNING",
        "--checkpoint",
        "state",
        "--report",
        "r.json",
        cwd=hidden,
        **secrets,
        **cache,
    )[1:]
    told += cli("run", "p.flow", "--sign", "env:HIDING", cwd=hidden, **secrets, **cache)[1:]
    for path in hidden.rglob("*"):
        if path.is_file():
            told.append(path.read_bytes().decode("latin-1"))
    lines = [line for line in secrets["SIGNING"].splitlines() if "KEY" not in line]
    for secret in (secrets["HIDING"], *lines):
        assert not any(secret in text for text in told)


# ---- checkpoints


def killed(place, *more):
    """A run that was stopped after a checkpoint."""
    flow = "source s from simulate.vibration(seconds=60 s)\nsink s to {sink}\n"
    (place / "long.flow").write_text(flow.replace("{sink}", more[0]))
    command = [
        sys.executable,
        "-m",
        "flowedge",
        "run",
        "long.flow",
        "--checkpoint",
        "state",
        "--every",
        "1ms",
        *more[1:],
    ]
    process = subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not list(place.glob("state/checkpoint-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130, err


def test_a_checkpoint_that_was_not_made_with_the_key_is_refused(place):
    killed(place, 'arrow("out/v.arrow")', "--sign", "k")
    again = ("run", "-q", "long.flow", "--checkpoint", "state")
    code, _, err = cli(*again, cwd=place)
    assert (code, "give the key" in err) == (3, True), err
    assert cli("key", "new", "other", cwd=place)[0] == 0
    code, _, err = cli(*again, "--sign", "other", cwd=place)
    assert (code, "made with another key" in err) == (3, True), err
    assert cli("inspect", "--ledger", "state", cwd=place)[0] == 3
    code, out, err = cli("inspect", "--ledger", "state", "--key", "k", cwd=place)
    assert (code, "each row that went in has one fate" in out) == (0, True), err
    assert cli(*again, "--sign", "k", cwd=place)[0] == 0
    assert cli("verify", "out", "--key", "k.pub", cwd=place)[0] == 0


def test_rows_of_an_encrypted_sink_wait_encrypted(place):
    assert cli("key", "new", "e", "--encryption", cwd=place)[0] == 0
    killed(place, 'parquet("out/v.parquet", encrypt=secret("file:e"))')
    logs = list(place.glob("state/rows/*/*.rows"))
    assert logs
    assert not any(b"ARROW" in p.read_bytes() or b"time" in p.read_bytes() for p in logs)
    assert cli("run", "-q", "long.flow", "--checkpoint", "state", cwd=place)[0] == 0
    code, out, _ = cli("inspect", "out/v.parquet", "--key", "file:e", cwd=place)
    assert (code, "rows" in out) == (0, True)
