"""A pipeline as a service: the unit is one that systemd takes, its walls are high, and what would not work is refused before."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from support.command import cli, recording
from support.services import require

from flowedge.cli import app
from flowedge.lang.errors import FlowEdgeError
from flowedge.runtime.operate.fitness import Account, problems
from flowedge.runtime.operate.needs import Needs
from flowedge.runtime.operate.unit import MARK, Unit, name_of, quoted

ANALYZE = shutil.which("systemd-analyze")
FLOW = """
source s from host(every=1 s) time time idle after 5 s
sink s to csv("/var/lib/flowedge/NAME/out/s.csv")
"""
BOUND = 2.5
"""Of `systemd-analyze security`, from 0 (nothing is exposed) to 10; a service that does without walls has 9.6."""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "p.flow").write_text(FLOW.replace("NAME", "p"))
    return tmp_path


def analyze(*words, **env):
    require("systemd-analyze", ANALYZE)
    return subprocess.run(
        [ANALYZE, *words], capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **env},
    )  # fmt: skip


def judged(folder, unit):
    """What systemd says of a unit, and how much is exposed."""
    path = folder / unit.file
    path.write_text(unit.text())
    found = analyze("verify", str(path))
    assert (found.returncode, found.stdout + found.stderr) == (0, "")
    score = analyze("security", "--offline=true", str(path)).stdout
    return float(re.search(r"exposure level for \S+: ([\d.]+)", score)[1])


def unit(name="p", **more):
    return Unit(name, Path("/srv/p.flow"), "/usr/bin/python3", **{"needs": Needs(), **more})


def test_the_unit_of_a_plain_pipeline_is_valid_and_exposes_little(tmp_path):
    assert judged(tmp_path, unit()) <= 1.5


WIDER = {
    "a device": Needs(devices={"/dev/ttyS0": "source x"}),
    "a low port": Needs(has_low_port=True),
    "models in processes of their own": Needs(has_isolated=True),
    "a graphics card": Needs(has_cuda=True),
    "a folder of its own": Needs(writes={"/srv": "sink x"}),
    "files in a home": Needs(reads={"/home/a/b.csv": "source x"}),
}


@pytest.mark.parametrize("what", WIDER)
def test_what_needs_a_hole_in_a_wall_gets_one_and_no_more(tmp_path, what):
    assert judged(tmp_path, unit(needs=WIDER[what])) <= BOUND


def test_credentials_variables_and_words_with_signs_are_what_systemd_reads(tmp_path):
    words = ("-p", 'limit=5 "%" $x \\ é', "--metrics", ":9464")
    found = unit(
        options=words,
        credentials={"pw": tmp_path / "100 %"},
        environment=tmp_path / "env",
        is_user=False,
    )
    (tmp_path / "100 %").write_text("x")
    (tmp_path / "env").write_text("A=1\n")
    assert judged(tmp_path, found) <= BOUND
    text = found.text()
    assert f"LoadCredential=pw:{tmp_path}/100 %%\n" in text
    (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert shlex.split(line.replace("%%", "%").replace("$$", "$"))[-4:] == list(words)
    assert "--checkpoint %S/flowedge/p/state" in line


def test_a_unit_of_a_user_has_the_walls_that_need_no_rights(tmp_path):
    found = unit(is_user=True)
    path = tmp_path / found.file
    path.write_text(found.text())
    told = analyze("--user", "verify", str(path), XDG_RUNTIME_DIR=str(tmp_path))
    assert told.returncode == 0, told.stderr
    assert "DynamicUser" not in found.text()
    assert {"NoNewPrivileges=yes", "WatchdogSec=60", "WantedBy=default.target"} <= set(
        found.text().splitlines()
    )


def test_the_unit_is_printed_and_nothing_changes(place):
    code, out, err = cli(
        "service",
        "install",
        "p.flow",
        "--as",
        "root",
        "--dry-run",
        "--metrics",
        ":9464",
        "--memory",
        "512MB",
        "--every",
        "5 s",
        cwd=place,
    )
    assert code == 0, err
    told = out.splitlines()
    assert told[0].startswith(MARK)
    assert {"Type=notify", "User=root", "Restart=on-failure", "MemoryMax=512000000", "WatchdogSec=60", "StateDirectory=flowedge/p",
            "ProtectSystem=strict", "ExecReload=/bin/kill -HUP $MAINPID"} <= set(told)  # fmt: skip
    (line,) = (x for x in told if x.startswith("ExecStart="))
    assert line.endswith(
        f"flowedge run {place}/p.flow --checkpoint %S/flowedge/p/state --log json --quiet --metrics :9464 --every '5 s'".replace(
            "'", '"'
        )
    )
    (place / "flowedge-p.service").write_text(out)
    assert analyze("verify", str(place / "flowedge-p.service")).stderr == ""


def install(place, text, *more):
    """What the command says, in this process."""
    (place / "p.flow").write_text(text)
    with pytest.raises(FlowEdgeError) as caught:
        app(
            ["service", "install", str(place / "p.flow"), "--dry-run", *more], standalone_mode=False
        )
    return str(caught.value)


REFUSED = {
    "a relative output": (FLOW.replace("/var/lib/flowedge/NAME/", ""), ("--as", "root"), "sink s names `out/s.csv`, and a service has no folder that this could be relative to"),
    "a folder that is not there": (FLOW.replace("/var/lib/flowedge/NAME/", "/nowhere/"), ("--as", "root"), "sink s: there is no folder `/nowhere/out`; make it"),
    "a folder that it may not write": (FLOW.replace("/var/lib/flowedge/NAME/out", "/etc"), (), "sink s: `/etc` cannot be written by a user made up by systemd (DynamicUser); write below `/var/lib/flowedge/p`, or say with `--as USER`"),
    "a way out of the state": (FLOW.replace("NAME/out", "p/../../../../nowhere"), ("--as", "root"), "there is no folder"),
    "a secret of the environment": (FLOW + 'sink s to mqtts("x")\n', ("--as", "root"), "FE"),
    "a credential that nobody gives": (FLOW + 'sink s to mqtt("mqtts://h/t", password=secret("systemd:pw")) as m\n', ("--as", "root"), "sink m wants the credential `pw`; say where it lies: `--credential pw=/PATH`"),
    "a credential that is not there": (FLOW, ("--as", "root", "--credential", "pw=/nowhere"), "the credential `pw`: there is no file `/nowhere`"),
    "variables that nobody gives": (FLOW + 'sink s to mqtt("mqtts://h/t", password=secret("env:PW")) as m\n', ("--as", "root"), "sink m wants the variable `PW`; give `--environment /FILE`"),
    "a secret by a relative path": (FLOW + 'sink s to mqtt("mqtts://h/t", password=secret("file:pw")) as m\n', ("--as", "root"), "names the secret `pw`; write the whole path"),
    "a file of TLS": (FLOW + 'sink s to mqtt("mqtts://h/t", ca="ca.pem") as m\n', ("--as", "root"), "sink m names `ca.pem`"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_would_not_work_is_refused_with_a_way_out(place, what):
    text, more, says = REFUSED[what]
    assert says in install(place, text.replace("NAME", "p"), *more)


def test_all_that_is_wrong_is_told_at_once(place):
    text = (
        'source s from host() time time\nsink s to csv("a.csv")\nsink s to jsonl("b.jsonl") as b\n'
    )
    assert install(place, text, "--as", "root").count("a service has no folder") == 2


def test_a_recording_that_others_may_not_read_is_refused_for_others(tmp_path):
    recording(tmp_path / "in.arrow")
    (tmp_path / "in.arrow").chmod(0o600)
    needs = Needs(reads={str(tmp_path / "in.arrow"): "source s"})
    (tmp_path / "p.flow").write_text("")

    def told(who):
        return [
            x
            for x in problems(
                tmp_path / "p.flow",
                needs,
                who,
                {},
                "/var/lib/flowedge/p",
                environment=None,
                metrics=True,
            )
            if "source s" in x
        ]

    assert "cannot be read by a user made up by systemd" in told(Account())[0]
    assert "cannot be read by the user nobody" in told(Account.of("nobody"))[0]
    assert told(Account("root", 0)) == []


@pytest.mark.parametrize(("given", "says"), [
    (("--name", "a b"), "is no name for a service"), (("--as", "nobody-at-all"), "there is no user `nobody-at-all`"),
    (("--metrics", "x"), "is no address"), (("--memory", "much"), "much"), (("--user", "--as", "root"), "is you"), (("--credential", "x"), "is not NAME=VALUE"),
])  # fmt: skip
def test_options_that_say_nothing_are_usage_errors(place, given, says):
    code, _, err = cli("service", "install", "p.flow", "--dry-run", *given, cwd=place)
    assert code == 2
    assert says in re.sub(r"\s*[│\n]+\s*", " ", err)


def test_a_service_of_a_user_is_written_replaced_and_taken_away(tmp_path):
    home = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_RUNTIME_DIR": str(tmp_path)}
    (tmp_path / "out").mkdir()
    (tmp_path / "p.flow").write_text(FLOW.replace("/var/lib/flowedge/NAME", str(tmp_path)))
    path = tmp_path / "config" / "systemd" / "user" / "flowedge-p.service"
    for _ in range(2):
        code, out, err = cli("service", "install", "p.flow", "--user", cwd=tmp_path, **home)
        assert code == 0, err
        assert f"wrote {path}" in out
    assert path.read_text().startswith(MARK)
    assert (
        cli("service", "status", "p", "--user", cwd=tmp_path, **home)[0] == 3
    )  # there is no systemd of this user
    code, out, _ = cli("service", "uninstall", "p", "--user", cwd=tmp_path, **home)
    assert (code, path.exists()) == (0, False)
    assert "what it had stored stays" in out
    code, _, err = cli("service", "uninstall", "p", "--user", cwd=tmp_path, **home)
    assert (code, "there is no service `p`" in err) == (3, True)
    path.write_text("[Service]\nExecStart=/bin/true\n")
    for command in (("install", "p.flow"), ("uninstall", "p"), ("status", "p")):
        code, _, err = cli("service", *command, "--user", cwd=tmp_path, **home)
        assert (code, "was not written by `flowedge service install`" in err) == (3, True)
    assert path.read_text() == "[Service]\nExecStart=/bin/true\n"


@pytest.mark.parametrize("name", ["", ".x", "a/b", "a b", "é", "x" * 101, "-x"])
def test_names_that_systemd_would_read_otherwise_are_none(name):
    with pytest.raises(ValueError, match="is no name for a service"):
        name_of(name)


def test_a_line_of_a_command_stays_one_line():
    assert quoted("a\nb") == '"a\\nb"'
    assert "\n" not in quoted("x\n[Service]\nUser=root")


def test_the_programs_of_the_tests_are_there():
    assert os.environ.get("FLOWEDGE_REQUIRE_ALL") is None or ANALYZE
