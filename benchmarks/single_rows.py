"""What one row costs that is pushed alone: the short way, and the way from node to node, in turns.

Run:  python benchmarks/single_rows.py [--rows 20000] [--devices 1000]

The rows are made before; a push is timed by itself, with what it gives. Work W2 of the fleet (a filter, figures of ten seconds
for each device) and the rules of `latency.py`. The network, decoding and encoding are not in it.
"""

import argparse
import gc
import time

import numpy as np
import pyarrow as pa
from common import machine

import flowedge
from flowedge.graph.catalog import PlainCatalog
from flowedge.types.connectors import ConnectorInfo

GIVEN = PlainCatalog(
    {"given": ConnectorInfo("given", "source", needs_address=False, describes_itself=False, writes_files=False)},
    {"kept": ConnectorInfo("kept", "sink", needs_address=False, writes_files=False)},
)  # fmt: skip
PLANS = {
    "W2": """
source s (time, device: key i32, temperature: f64, humidity: f64) from given()
    max keys 100_000
sink s | where temperature > 20 | window 10 s | aggregate count() as n, mean(temperature) as t, min(temperature) as tl, max(temperature) as th,
    mean(humidity) as h, min(humidity) as hl, max(humidity) as hh to kept()
""",
    "rules": """
source s (time, device: key i32, temperature: f64, humidity: f64) from given()
    max keys 100_000
sink s | classify rules { "alarm" when temperature > 30 and humidity < 50  "warm" when temperature > 25 or humidity >= 80  otherwise "fine" } to kept()
""",
}
BLOCK = 500


def rows_of(count: int, devices: int) -> list[pa.RecordBatch]:
    """Rows in the order of time, of devices in random order, each a batch of its own."""
    draw = np.random.default_rng(1)
    each = {
        "time": pa.array(np.arange(count) * (10**9 // devices), pa.timestamp("ns", "UTC")),
        "device": pa.array(draw.integers(0, devices, count).astype(np.int32)),
        "temperature": draw.uniform(12, 32, count).round(2),
        "humidity": draw.uniform(30, 90, count).round(2),
    }
    whole = pa.record_batch(each)
    # No slices: a row that comes alone has memory of its own.
    return [whole.take(pa.array([k])) for k in range(count)]


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--devices", type=int, default=1000)
    given = parser.parse_args()
    rows = rows_of(given.rows, given.devices)
    print(machine(), "", "| plan | way | pushes | p50 µs | p90 | p99 | p99.9 |", "|---|---|---|---|---|---|---|", sep="\n")  # fmt: skip
    for name, text in PLANS.items():
        plan = flowedge.compile(text=text, catalog=GIVEN)
        ways = {"short": plan.open(), "node to node": plan.open()}
        ways["node to node"].go_the_long_way()
        took: dict[str, list[int]] = {way: [] for way in ways}
        made = dict.fromkeys(ways, 0)
        gc.collect()
        gc.freeze()
        gc.disable()
        for first in range(0, len(rows), BLOCK):
            for way, session in ways.items():
                for one in rows[first : first + BLOCK]:
                    began = time.perf_counter_ns()
                    out = session.push("s", one)
                    took[way].append(time.perf_counter_ns() - began)
                    made[way] += sum(batch.num_rows for batch in out.values())
        gc.enable()
        assert len(set(made.values())) == 1, made
        for way, found in took.items():
            settled = np.array(found[len(found) // 4 :]) / 1e3
            print(f"| {name} | {way} | {len(settled):,} | " + " | ".join(f"{np.percentile(settled, q):.0f}" for q in (50, 90, 99, 99.9)) + " |")  # fmt: skip


if __name__ == "__main__":
    main()
