"""Files are told by BLAKE3; what versions before told by SHA-256 is verified and gone on with as ever."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from blake3 import blake3
from support.command import recording

from flowedge.lang.errors import SinkError
from flowedge.runtime import checkpoint
from flowedge.runtime.outlet import Outlet
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run
from flowedge.runtime.verify import verify
from flowedge.session.snapshot import CHECKPOINT, seal, unseal
from flowedge.sinks.atomic import AtomicFile, temporary_of
from flowedge.sinks.digests import ALGORITHMS, Digest, of_file
from flowedge.sinks.manifest import read

ABC = {  # the digests of b"abc" as their authors give them
    "blake3": "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
    "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
}
OLD = """{
  "format": 1,
  "complete": true,
  "pattern": "x*",
  "files": [
    {"path": "x0", "size_bytes": 3, "rows": 1, "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "link": "%s"},
    {"path": "x1", "size_bytes": 3, "rows": 2, "sha256": "cb8379ac2098aa165029e3938a51da0bcecfc008fd6795f401178647f96c5b34", "link": "%s"}
  ],
  "earlier": []
}
"""


def linked(before, line):
    """The chain as it was made when all digests were by SHA-256, written once more by hand."""
    return hashlib.sha256(f"{before}\n{json.dumps(line)}".encode()).hexdigest()


@pytest.fixture
def old(tmp_path):
    """Two files, and their list as a version before wrote it."""
    (tmp_path / "x0").write_bytes(b"abc")
    (tmp_path / "x1").write_bytes(b"def")
    first = linked("", ["x0", 3, 1, ABC["sha256"]])
    second = linked(
        first, ["x1", 3, 2, "cb8379ac2098aa165029e3938a51da0bcecfc008fd6795f401178647f96c5b34"]
    )
    (tmp_path / "_manifest").mkdir()
    (tmp_path / "_manifest/x.json").write_text(OLD % (first, second))
    return tmp_path


def wrong(folder):
    return [line for one in verify(folder) for line in one.wrong]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_digest_is_what_its_authors_say(algorithm, tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert of_file(tmp_path / "a", algorithm) == Digest(algorithm, ABC[algorithm])


@pytest.mark.parametrize("digest", [Digest(a, d) for a, d in ABC.items()])
def test_a_digest_is_read_back_from_what_is_kept_of_it(digest):
    assert Digest.of(digest.text) == digest
    assert Digest.taken({"rows": 3, **digest.entry}) == (digest, {"rows": 3})


@pytest.mark.parametrize(
    "facts", [{}, {"md5": "00"}, {"sha256": 5}, ABC], ids=["none", "unknown", "number", "two"]
)
def test_what_is_not_told_by_one_digest_is_none(facts):
    with pytest.raises(TypeError):
        Digest.taken({"rows": 3, **facts})


@pytest.mark.parametrize("sizes", [[1] * 5_000, [300, 524_288, 8, 0, 65_536, 65_535, 7], [1 << 20]])
def test_the_digest_is_that_of_all_bytes_at_any_moment(sizes, tmp_path):
    data = np.random.default_rng(1).bytes(sum(sizes))
    file, at = AtomicFile(tmp_path / "a"), 0
    for k, size in enumerate(sizes):
        file.write(memoryview(data)[at : at + size])
        at += size
        if k % 997 == 0:
            assert file.digest.hexadecimal == blake3(data[:at]).hexdigest()
    file.finish()
    file.publish()
    assert file.digest == Digest("blake3", blake3(data).hexdigest())
    assert (tmp_path / "a").read_bytes() == data


def test_a_list_of_a_version_before_is_verified(old):
    assert wrong(old) == []


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x1", b"deF", "CHANGED  x1"),
        ("x1", b"abc", "EXCHANGE x1 holds what x0 should hold"),
        ("x2", b"new", "ADDED    x2"),
    ],
)
def test_what_was_changed_under_a_list_of_a_version_before_is_told(old, name, data, words):
    (old / name).write_bytes(data)
    (told,) = wrong(old)
    assert words in told


@pytest.mark.parametrize("change", [{"rows": 9}, {"sha256": ABC["blake3"]}])
def test_a_line_that_was_changed_in_a_list_of_a_version_before_is_told(old, change):
    path = old / "_manifest/x.json"
    told = json.loads(path.read_text())
    told["files"][0].update(change)
    path.write_text(json.dumps(told))
    assert any("the chain breaks at x0" in line for line in wrong(old))


def test_a_digest_cannot_be_passed_off_as_one_of_another_algorithm(old):
    path = old / "_manifest/x.json"
    told = json.loads(path.read_text())
    told["files"][0]["blake3"] = told["files"][0].pop("sha256")
    path.write_text(json.dumps(told))
    assert any("the chain breaks at x0" in line for line in wrong(old))


# ---- runs that go on from versions before


SINKS = {"grows": 'csv("out/o.csv")', "rolls": 'parquet("out/o", roll=20 s)'}


class Place:
    """A pipeline, what it gives, and a run of it that was killed."""

    def __init__(self, root, sink):
        self.root = root
        recording(root / "in.arrow", v=np.arange(100.0))
        self.plan = compile_flow(
            text=f'source s (time, v: f64) from arrow("in.arrow")\nsink s to {sink}\n'
        )
        self.run()
        self.wanted = self.outputs()
        shutil.rmtree(root / "out")

    def run(self):
        return Run(self.plan, checkpoint=self.root / "state", every_s=0.0)()

    def outputs(self):
        found = (p for p in (self.root / "out").rglob("*") if p.is_file())
        return {str(p.relative_to(self.root)): p.read_bytes() for p in found if p.suffix != ".json"}

    def kill(self, monkeypatch):
        """Die between the last checkpoint and the showing of what it speaks of."""

        def killed(outlet):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Outlet, "commit", killed)
            with pytest.raises(KeyboardInterrupt):
                self.run()

    def age(self):
        """Make the checkpoint what a version before would have made of it."""
        _, path = checkpoint.checkpoints_in(self.root / "state")[-1]
        kept = unseal(path.read_bytes(), magic=CHECKPOINT, key=None)
        kept["format"], found = 3, 0
        for output in kept["outputs"].values():
            for one in output["ready"]:
                del one["blake3"]
                one["sha256"] = self.sha256(one["path"])
                found += 1
            for _, part in (output["state"] or {}).get("grown", ()):
                part["kept"][1] = self.sha256("out/o.csv", part["kept"][0])
                found += 1
        assert found, "a checkpoint that speaks of no file shows nothing"
        path.write_bytes(seal(kept, magic=CHECKPOINT, key=None))

    def sha256(self, path, size=None):
        data = temporary_of(self.root / path).read_bytes()[:size]
        return hashlib.sha256(data).hexdigest()

    def algorithms(self):
        (path,) = (self.root / "out").rglob("_manifest/*.json")
        return {name for line in read(path)["files"] for name in line if name in ALGORITHMS}


@pytest.fixture
def place(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, SINKS[request.param])


@pytest.mark.parametrize("place", SINKS, indirect=True)
def test_a_checkpoint_of_a_version_before_is_gone_on_from(place, monkeypatch):
    place.kill(monkeypatch)
    place.age()
    assert place.run().resumed_from is not None
    assert place.outputs() == place.wanted
    assert wrong(place.root / "out") == []
    assert "sha256" in place.algorithms()  # a file is told to its end by what it was begun with
    place.run()
    assert place.algorithms() == {"blake3"}
    assert wrong(place.root / "out") == []


@pytest.mark.parametrize("place", SINKS, indirect=True)
@pytest.mark.parametrize("aged", [False, True])
def test_a_byte_that_has_changed_since_the_checkpoint_is_told(place, aged, monkeypatch):
    place.kill(monkeypatch)
    if aged:
        place.age()
    for path in (place.root / "out").rglob("*.inprogress"):
        data = bytearray(path.read_bytes())
        data[2] ^= 1
        path.write_bytes(data)
    with pytest.raises(SinkError, match="DATA LOSS"):
        place.run()


@pytest.mark.parametrize("place", ["grows"], indirect=True)
def test_a_file_of_the_run_before_is_whole_until_it_is_replaced(place, monkeypatch):
    """The list says already what comes, by BLAKE3, and the file that is there was told by SHA-256."""
    place.run()
    path = place.root / "out/_manifest/o.csv.json"
    told = json.loads(path.read_text())
    (line,) = told["files"]
    data = (place.root / "out/o.csv").read_bytes()
    before = {**line, "sha256": hashlib.sha256(data).hexdigest()}
    del before["blake3"]
    (place.root / "out/_manifest/o.csv.json").write_text(
        json.dumps({**told, "complete": False, "earlier": [before]})
    )
    assert wrong(place.root / "out") == []
    (place.root / "out/o.csv").write_bytes(data.replace(b"99", b"98"))
    assert any("CHANGED  o.csv" in one for one in wrong(place.root / "out"))
