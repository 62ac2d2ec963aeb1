"""A pipeline that is run again and again through faults, and what must hold after each."""

import os
import random
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.faults import KINDS, FaultyDisk, Killed, using

from flowedge.lang.errors import FlowEdgeError
from flowedge.runtime import rowlog
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run
from flowedge.sinks import files
from flowedge.sinks.arrow import Arrow
from flowedge.sinks.csv import Csv
from flowedge.sinks.jsonl import Jsonl
from flowedge.sinks.manifest import listed, read
from flowedge.sinks.parquet import Parquet

SEED = int(os.environ.get("FLOWEDGE_SEED", "1"))
FLOW = """
source s (time, device: key, v: f64) from arrow("in.arrow") late 2 s
    {valid} on error quarantine "out/{bad}"
stream w = s | window 5 s | aggregate mean(v) as m, count() as n
sink s to {rolling}
sink w to {whole}
"""
SINKS = {
    "arrow": ('arrow("out/{device}/s.arrow")', 'arrow("out/w.arrow")'),
    "parquet": ('parquet("out/s", partition=["device"], roll=20 s)', 'parquet("out/w.parquet")'),
    "rolled": ('parquet("out/s", roll=3 [kB])', 'jsonl("out/w.jsonl")'),
    "text": ('csv("out/s.csv")', 'jsonl("out/w.jsonl")'),
}


def recorded(path, batches=7, rows=40):
    """A recording in small batches, with rows without a time and late ones."""
    rng = np.random.default_rng(5)
    count = batches * rows
    seconds = np.arange(count) * 0.25 + rng.choice([0, -1.5, -9], count, p=[0.8, 0.15, 0.05])
    time = pa.array(
        [None if rng.random() < 0.01 else int(t * 1e9) for t in seconds], pa.int64()
    ).cast(pa.timestamp("ns", "UTC"))
    device = pa.array([f"d{k}" for k in rng.integers(0, 3, count)])
    table = pa.table({"time": time, "device": device, "v": rng.normal(size=count).round(2)})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


SMALL = [
    *((sink, "block_rows", 16) for sink in (Arrow, Csv, Jsonl, Parquet)),
    (files, "_ROUTED_ROWS", 24),
    (files, "_PENDING_ROWS", 40),
    (files, "_LOGGED_ROWS", 60),
    (rowlog, "_FRAME_BYTES", 700),
    (rowlog, "_SEGMENT_BYTES", 3_000),
]
"""Blocks, files and logs of a few rows, so that little data meets every bound."""


class Place:
    """A pipeline that can be run again and again from nothing."""

    def __init__(self, root, sinks, more="", valid="", bad="bad.arrow"):
        self.root = root
        recorded(root / "in.arrow")
        rolling, whole = SINKS[sinks]
        text = FLOW.replace("{rolling}", rolling + more).replace("{whole}", whole + more)
        text = text.replace("{valid}", valid).replace("{bad}", bad)
        (root / "p.flow").write_text(text)
        self.plan = compile_flow(root / "p.flow")
        self.fresh()
        self.run()
        self.wanted = self.outputs()
        assert len(self.wanted) > 3
        self.all_rows = self.rows()

    def fresh(self):
        for name in ("out", "state", "aside"):
            shutil.rmtree(self.root / name, ignore_errors=True)

    def run(self, calls=None):
        """One life of a process; whether it came to its end."""
        calls = calls or FaultyDisk(self.root / "aside")
        try:
            with using(calls, self.root):
                task = Run(self.plan, checkpoint=self.root / "state", every_s=0.0)
                self.hints = task().hints
        except (Killed, FlowEdgeError) as error:
            self.said = repr(error)
            return False
        return True

    def outputs(self):
        """All that a reader may see, and the lists."""
        out = self.root / "out"
        return {
            str(path.relative_to(out)): path.read_bytes()
            for path in sorted(out.rglob("*"))
            if path.is_file() and not path.name.startswith(".") and "_quarantine" not in path.parts
        }

    def rows(self):
        """How many rows each file has."""
        found = (self.root / "out").rglob("*.parquet")
        return {
            str(p): pq.read_metadata(p).num_rows if p.stat().st_size else 0
            for p in found
            if "_quarantine" not in p.parts
        }

    def look(self):
        """What is wrong with what a reader sees in the middle of it all."""
        wrong = []
        told = {}
        for path in (self.root / "out").rglob("_manifest/*.json"):
            base = path.parent.parent
            for key in ("files", "earlier"):
                for one in listed(read(path), key):
                    told.setdefault(
                        str((base / one.path).relative_to(self.root / "out")), []
                    ).append(one)
        for name, data in self.outputs().items():
            if "_manifest" in name:
                continue
            if data != self.wanted.get(name):
                wrong.append(f"`{name}` can be seen and is not what it should be")
            if name not in told:
                wrong.append(f"`{name}` can be seen and is not listed")
        return wrong

    def fault(self, at, kind, seed, forget=lambda *_: False, second=None):
        """A fault, one more on the way back, then peace: all that is wrong."""
        self.fresh()
        rng = random.Random(f"{at} {kind} {seed}")
        wrong = []
        first = FaultyDisk(self.root / "aside", at, kind, seed, forget)
        self.run(first)
        wrong += self.look()
        other = FaultyDisk(
            self.root / "aside", rng.randrange(60), second or rng.choice(KINDS), seed, forget
        )
        self.run(other)
        wrong += self.look()
        if not self.run():
            wrong.append(f"the run in peace failed: {self.said}")
        elif self.outputs() != self.wanted:
            have = self.outputs()
            wrong += [
                f"`{name}` differs"
                for name in sorted({*have, *self.wanted})
                if have.get(name) != self.wanted.get(name)
            ]
        return [
            f"{kind} at {at} ({first.trace[-1]}), then {other.kind} at {other.at}: {w}"
            for w in wrong
        ]
