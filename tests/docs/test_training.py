"""The page on training, from the log of an activity to a network that labels a stream."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import cli, read

torch = pytest.importorskip("torch")
PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text("utf-8")
FILES = dict(re.findall(r"^```\w+ ([\w.]+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, "utf-8")
    (commands,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    told = [cli(*line.split()[1:], cwd=tmp_path) for line in commands.splitlines()]
    assert [code for code, _, _ in told] == [0, 0, 0]
    (shown,) = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert told[0][1] == shown
    trained = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=True)  # fmt: skip
    right, of = map(int, re.findall(r"\d+", trained.stdout)[:2])
    assert right / of > 0.9
    code, _, err = cli("run", "motion.flow", "-p", "seed=6", "-p", "notes=log6.csv", cwd=tmp_path)
    assert code == 0, err
    labels = read(tmp_path / "told.arrow")["label"].to_pylist()
    truth = read(tmp_path / "six.arrow")["was"].to_pylist()
    assert sum(a == b for a, b in zip(labels, truth, strict=True)) == right
