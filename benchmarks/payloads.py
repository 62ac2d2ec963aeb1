"""What small messages cost on their way to rows, next to what unpacking them alone costs.

Run:  python benchmarks/payloads.py

Readings of a time, three numbers and the name of a device, one to a message and fifty to a message. `msgpack.unpackb` and
`orjson.loads` make maps of them, as many connectors do first of all; what they give is no row yet. Rounds in turn, medians.
"""

import json
import random
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import msgpack
import orjson
import pyarrow as pa
from common import machine, timed

from flowedge.sources.payloads import Decoder

READINGS, ROUNDS, EACH = 40_000, 15, 50
SCHEMA = pa.schema(
    [("t", pa.timestamp("ns", "UTC")), ("x", pa.float64()), ("y", pa.float64()), ("z", pa.float64())]
)  # fmt: skip
RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD, NEXT = "\n# Payloads\n", "\n# "


def readings() -> list[dict[str, float]]:
    """Times in ns, two numbers of all their digits, one of a few."""
    draw = random.Random(1)
    return [
        {
            "t": 1_700_000_000_000_000_000 + 10_000_000 * k,
            "x": draw.gauss(0, 1),
            "y": round(draw.gauss(20, 5), 2),
            "z": draw.random(),
        }
        for k in range(READINGS)
    ]


def slow(decoder: Decoder) -> Decoder:
    """A decoder without kernels: the way that decides what they leave."""
    decoder._fast.kernels.clear()  # noqa: SLF001
    return decoder


def main() -> list[str]:
    """The lines of the results."""
    rows = readings()
    decoder, plain = Decoder(SCHEMA), slow(Decoder(SCHEMA))
    decoder.prepare()

    def rows_of(one: Decoder, payloads: list[bytes]) -> None:
        one.add_many(payloads)
        if one.take().num_rows != READINGS:
            sys.exit("rows are missing")

    out = [
        f"Rows of a time and three float64, {READINGS:,} readings; ns for each reading, and the ratio to the library alone, by CPU time, round by round.",
        "",
        "| payloads | bytes | rows by kernels | rows without | library alone | ratio | spread |",
        "|---|---|---|---|---|---|---|",
    ]
    forms: tuple[tuple[str, Callable[..., bytes], Callable[[bytes], object]], ...] = (
        ("msgpack", msgpack.packb, msgpack.unpackb),
        ("JSON", lambda v: json.dumps(v).encode(), orjson.loads),
    )
    for name, packed, library in forms:
        for each in (1, EACH):
            payloads = [packed(rows[k] if each == 1 else rows[k : k + each]) for k in range(0, READINGS, each)]  # fmt: skip
            jobs: dict[str, Callable[[], object]] = {
                "kernels": lambda p=payloads: rows_of(decoder, p),
                "plain": lambda p=payloads: rows_of(plain, p),
                "library": lambda p=payloads, u=library: [u(one) for one in p],
            }
            spent: dict[str, list[float]] = {key: [] for key in jobs}
            for job in jobs.values():
                job()
            for number in range(ROUNDS):
                for key, job in jobs.items():
                    if key != "plain" or number < 3:
                        spent[key].append(timed(job).cpu)
            ns = {key: statistics.median(w) / READINGS * 1e9 for key, w in spent.items()}
            ratios = sorted(a / b for a, b in zip(spent["library"], spent["kernels"], strict=True))
            out.append(
                f"| {name}, {each} to a message | {sum(map(len, payloads)) // READINGS} | {ns['kernels']:.0f} | {ns['plain']:,.0f} | {ns['library']:.0f} "
                f"| {statistics.median(ratios):.2f} | {ratios[1]:.2f} – {ratios[-2]:.2f} |"
            )
    few = [packed(row) for row, packed in zip(rows[:8], [msgpack.packb] * 8, strict=True)]
    calls = statistics.median(timed(lambda: [rows_of_few(decoder, few) for _ in range(500)]).cpu for _ in range(5))  # fmt: skip
    out += [
        "",
        f"A call with eight messages takes {calls / 500 * 1e6:.0f} µs, most of it for the arrays.",
        "",
    ]
    return out


def rows_of_few(decoder: Decoder, payloads: list[bytes]) -> None:
    """As at a low rate."""
    decoder.add_many(payloads)
    decoder.take()


if __name__ == "__main__":
    lines = ["", "Made by `python benchmarks/payloads.py`; these machines are shared, so read the ratios.", "", machine(), "", *main()]  # fmt: skip
    print("\n".join(lines))
    if "--write" in sys.argv:
        kept = RESULTS.read_text(encoding="utf-8")
        front, _, rest = kept.partition(HEAD)
        tail = rest[rest.index(NEXT) :] if NEXT in rest else ""
        RESULTS.write_text(
            front.rstrip("\n") + "\n" + HEAD + "\n".join(lines) + tail, encoding="utf-8"
        )
