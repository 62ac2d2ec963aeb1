"""What a unit means is looked up once and kept: the same fractions, without pint."""

from flowedge.types import registry

WORDS = ["mV", "degree", "psi", "Mbit", "mmHg", "hour", "gauss", "ppb", "bpm", "rpm"]


def test_what_was_looked_up_is_not_looked_up_again(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWEDGE_CACHE", str(tmp_path / "kept"))
    registry.look_up.cache_clear()
    found = [registry.look_up(word) for word in WORDS]
    assert None not in found
    registry.look_up.cache_clear()
    monkeypatch.setattr(registry, "_looked_up", lambda word: 1 / 0)
    assert [registry.look_up(word) for word in WORDS] == found
    registry.look_up.cache_clear()


def test_what_is_no_unit_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWEDGE_CACHE", str(tmp_path / "kept"))
    registry.look_up.cache_clear()
    assert registry.look_up("zzqx") is None
    assert not list((tmp_path / "kept").glob("units/*"))
    registry.look_up.cache_clear()
