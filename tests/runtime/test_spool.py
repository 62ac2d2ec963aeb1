"""The directory of a buffer: on a disk, and gone with its run, however that ended."""

from flowedge.runtime.spool import Spool


def test_what_a_killed_run_has_left_is_removed_and_what_another_holds_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    mine, killed = Spool(), Spool()
    (killed.folder / "0.rows").write_bytes(b"rows")
    killed._lock.close()  # as the system does with what a killed process held
    other = Spool()
    assert sorted(tmp_path.iterdir()) == sorted([mine.folder, other.folder])
    mine.remove()
    other.remove()
    assert not list(tmp_path.iterdir())
