"""The clock of a grid in a zone, against one that is turned minute by minute."""

import random
from datetime import UTC, datetime

import pytest

from flowedge.operators import grids, zones

MINUTE = 60 * 10**9
HOUR = 60 * MINUTE
DAY = 24 * HOUR
CASES = [
    ("Europe/Brussels", DAY, DAY),
    ("Europe/Brussels", HOUR, 15 * MINUTE),
    ("Europe/Brussels", 45 * MINUTE, 45 * MINUTE),
    ("America/Havana", DAY, 6 * HOUR),
    ("Australia/Lord_Howe", HOUR, HOUR),
    ("Australia/Lord_Howe", 30 * MINUTE, 30 * MINUTE),
    ("Pacific/Apia", 3 * DAY, DAY),
    ("Africa/Casablanca", 7 * DAY, 7 * DAY),
    ("Asia/Kathmandu", DAY, DAY),
    ("UTC", HOUR, HOUR),
]


def turned(zone, size, hop, first, minutes):
    """What the clock reads at each minute: turned by a minute, by what is skipped, or not at all."""
    place = zones.require_zone(zone)

    def offset(minute):
        moment = datetime.fromtimestamp(minute * 60, UTC).astimezone(place)
        return round(moment.utcoffset().total_seconds()) * 10**9

    shown, again, out = 0, 0, []
    before = offset(first - 1)
    for minute in range(first, first + minutes):
        now = offset(minute)
        back = before - now
        if back > 0 and back % size == 0 and back % hop == 0:
            again += back
        elif back > 0:
            shown = minute * MINUTE + before + again - 1
        shown = max(shown, minute * MINUTE + now + again)
        out.append(shown)
        before = now
    return out


def around(zone, rng):
    """A minute two days before some change of the clocks."""
    changes = [c for c in zones.table(zone)[0][1:] if c > 90 * 86_400] or [1_700_000_000]
    return rng.choice(changes) // 60 - 2880


@pytest.mark.parametrize(("zone", "size", "hop"), CASES)
def test_a_clock_never_goes_back_and_shows_local_time_otherwise(zone, size, hop):
    rng = random.Random(zone + str(size))
    reading, instant = grids.reading(zone, size, hop), grids.instant(zone, size, hop)
    for _ in range(4):
        first = around(zone, rng)
        want = turned(zone, size, hop, first, 5760)
        got = [reading((first + k) * MINUTE) for k in range(5760)]
        # Both have counted other repeated hours before; those are whole windows.
        ahead = got[0] - want[0]
        assert ahead % size == ahead % hop == 0
        assert [x - ahead for x in got] == want
        boundaries = {x // hop * hop for x in got[1:]}
        for x in boundaries:
            at = instant(x)
            assert reading(at) >= x > reading(at - 1)


@pytest.mark.parametrize(("zone", "size", "hop"), CASES)
def test_no_window_lasts_longer_than_is_said(zone, size, hop):
    instant = grids.instant(zone, size, hop)
    start = grids.reading(zone, size, hop)(1_600_000_000 * 10**9) // hop * hop
    longest = max(instant(start + k * hop + size) - instant(start + k * hop) for k in range(3000))
    assert size <= longest <= grids.longest_ns(zone, size, hop)


def test_a_day_lasts_25_hours_at_most_and_an_hour_one():
    assert grids.longest_ns("Europe/Brussels", DAY, DAY) == 25 * HOUR
    assert grids.longest_ns("Europe/Brussels", HOUR, HOUR) == HOUR
    assert grids.longest_ns("Asia/Kathmandu", DAY, DAY) == DAY
    assert grids.is_even("Europe/Brussels", HOUR)
    assert not grids.is_even("Europe/Brussels", DAY)


def test_never_and_for_ever_are_read_as_themselves():
    reading, instant = grids.reading("Asia/Tokyo", DAY, DAY), grids.instant("Asia/Tokyo", DAY, DAY)
    for end in (-(2**63), 2**63 - 1):
        assert reading(end) == end
        assert instant(end) == end


def test_zones_are_those_of_the_package():
    assert "Europe/Brussels" in zones.known()
    with pytest.raises(KeyError):
        zones.require_zone("../../etc/passwd")
