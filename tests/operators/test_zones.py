"""Local time against `zoneinfo` over the same data, above all around the hours at which clocks change."""

import random
from datetime import datetime

import pytest

from flowedge.operators import zones

ZONES = ("Europe/Brussels", "America/Havana", "America/Sao_Paulo", "Africa/Casablanca", "Australia/Lord_Howe", "Pacific/Apia",
         "Asia/Kathmandu", "UTC")  # fmt: skip


@pytest.mark.parametrize("zone", ZONES)
def test_a_zone_agrees_with_zoneinfo(zone):
    place = zones.require_zone(zone)
    clock, weekday, midnight = (
        zones.seconds_of_day(zone),
        zones.day_of_week(zone),
        zones.midnight(zone),
    )
    rng = random.Random(1)
    seconds = [rng.randrange(86_400, zones.LAST_S) for _ in range(500)]
    changes = zones.table(zone)[0][1:]
    seconds += [
        c + d
        for c in changes
        for d in (-90_000, -3_601, -1, 0, 1, 1_800, 3_600, 86_000)
        if c + d > 86_400
    ]
    for second in seconds:
        local = datetime.fromtimestamp(second, place)
        ns = second * 10**9
        assert clock(ns + 5) == local.hour * 3600 + local.minute * 60 + local.second + 5e-9
        assert weekday(ns) == local.isoweekday()
        assert (
            midnight(ns)
            == datetime(local.year, local.month, local.day, tzinfo=place).timestamp() * 10**9
        )
