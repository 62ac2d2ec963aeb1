"""The cache on disk: whole entries come back, everything else is a miss."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowedge.cache import Cache, default_cache, default_root


@pytest.fixture
def kept(tmp_path):
    return Cache(tmp_path / "cache")


def test_what_was_put_comes_back(kept):
    kept.put("objects", "ab12", b"\0content")
    assert kept.get("objects", "ab12") == b"\0content"
    assert kept.get("plans", "ab12") is None
    assert (kept.statistics.hits, kept.statistics.misses, kept.statistics.stored) == (1, 1, 1)


def test_only_its_owner_can_read_or_write_it(kept):
    kept.put("objects", "ab", b"x")
    assert kept.root.stat().st_mode & 0o077 == 0
    assert (kept.root / "objects" / "ab").stat().st_mode & 0o077 == 0


def test_every_kind_of_damage_is_a_miss(kept):
    kept.put("objects", "ab", b"content of an entry")
    path = kept.root / "objects" / "ab"
    whole = path.read_bytes()
    damaged = [whole[:n] for n in range(len(whole))] + [whole + b"x", b"", b"garbage" * 50]
    damaged += [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(len(whole))]
    for data in damaged:
        path.write_bytes(data)
        assert kept.get("objects", "ab") is None
    assert kept.statistics.damaged == len(damaged)
    kept.put("objects", "ab", b"again")
    assert kept.get("objects", "ab") == b"again"


def test_an_entry_under_another_name_is_a_miss(kept):
    kept.put("objects", "ab", b"content")
    (kept.root / "objects" / "cd").write_bytes((kept.root / "objects" / "ab").read_bytes())
    assert kept.get("objects", "cd") is None


def test_a_folder_in_the_place_of_an_entry_is_a_miss(kept):
    kept.put("objects", "ab", b"content")
    (kept.root / "objects" / "cd").mkdir()
    assert kept.get("objects", "cd") is None
    kept.put("objects", "cd", b"x")
    assert kept.statistics.failed == 1


def test_a_folder_that_others_may_write_in_is_not_trusted(tmp_path):
    for mode in (0o777, 0o770):
        root = tmp_path / f"open-{mode}"
        root.mkdir()
        root.chmod(mode)
        kept = Cache(root)
        kept.put("objects", "ab", b"x")
        assert kept.get("objects", "ab") is None
        assert "not trusted" in kept.warning.message
        assert list(root.iterdir()) == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives folders away"
)
def test_a_folder_of_another_user_is_not_trusted(tmp_path):
    root = tmp_path / "theirs"
    root.mkdir(mode=0o700)
    os.chown(root, 12345, 12345)
    assert "another user" in Cache(root).warning.message


def test_a_folder_that_cannot_be_made_only_warns(tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        kept = Cache(root)
        kept.put("objects", "ab", b"x")
        assert kept.get("objects", "ab") is None
        assert kept.warning is not None
        assert kept.statistics.misses == 1


def test_without_a_folder_nothing_is_kept_and_nothing_warns():
    kept = Cache(None)
    kept.put("objects", "ab", b"x")
    assert kept.get("objects", "ab") is None
    assert kept.warning is None


def test_a_name_that_leads_elsewhere_is_refused(kept):
    for key in ("../x", "", "a/b", "A" * 10, "a" * 129, "ab\n"):
        with pytest.raises(ValueError, match="not a name"):
            kept.get("objects", key)


def test_entries_not_used_for_longest_go_first(tmp_path):
    kept = Cache(tmp_path / "cache", limit=5_000)
    for k in range(4):
        kept.put("objects", f"{k}", bytes(1_000))
        os.utime(kept.root / "objects" / f"{k}", ns=(k, k))
    kept.get("objects", "0")
    kept.put("plans", "new", bytes(1_500))
    assert {p.name for p in kept.entries()} == {"0", "2", "3", "new"}
    kept.put("plans", "huge", bytes(6_000))
    assert [p.name for p in kept.entries()] == ["huge"]


def test_the_place_is_taken_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("FLOWEDGE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_root() == tmp_path / ".cache" / "flowedge"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_root() == tmp_path / ".cache" / "flowedge"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert default_root() == tmp_path / "shared" / "flowedge"
    monkeypatch.setenv("FLOWEDGE_CACHE", str(tmp_path / "own"))
    assert default_root() == tmp_path / "own"
    assert default_cache() is default_cache()


def test_many_processes_may_write_the_same_entries(tmp_path):
    script = f"""
from pathlib import Path
from flowedge.cache import Cache
kept = Cache(Path({str(tmp_path / "cache")!r}), limit=200_000)
for n in range(150):
    key = str(n % 10)
    kept.put("objects", key, key.encode() * 20_000)
    found = kept.get("objects", key)
    assert found in (None, key.encode() * 20_000)
assert kept.statistics.damaged == 0
"""
    running = [
        subprocess.Popen([sys.executable, "-c", script], cwd=Path.cwd(), stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in running:
        _, problem = process.communicate(timeout=120)
        assert process.returncode == 0, problem.decode()
    assert not [p for p in (tmp_path / "cache" / "objects").iterdir() if p.name.startswith(".new")]
