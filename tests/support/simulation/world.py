"""A seed is a whole world: a pipeline, rows, and all that happens to the processes that run it.

Eight seeds share a pipeline, as compiling one costs a hundred times what running it does. The last life
is left in peace; what is then on the disk must be what the plain run in memory gives, bit for bit.
"""

import contextlib
import gc
import json
import os
import random
import shutil
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path

import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from support.faults import FaultyDisk, Killed, using
from support.simulation import network
from support.simulation.arrivals import arrivals_seen
from support.simulation.broker import UNREADABLE, Broker, Topic, files_of, lay_out, serving
from support.simulation.pipelines import pipeline
from support.simulation.promises import watched
from support.simulation.rows import log
from support.simulation.turns import Turns

from flowedge.compile import program as p
from flowedge.lang.errors import (
    CheckpointError,
    FlowEdgeError,
    InternalError,
    RunError,
    SourceError,
)
from flowedge.runtime import rowlog, signals
from flowedge.runtime.checkpoint import checkpoints_in
from flowedge.runtime.clock import Clock
from flowedge.runtime.models import load_models
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.quarantine import Maps
from flowedge.runtime.run import Run
from flowedge.sinks import files
from flowedge.sinks.arrow import Arrow
from flowedge.sinks.csv import Csv
from flowedge.sinks.jsonl import Jsonl
from flowedge.sinks.parquet import Parquet

SHARED = 8
"""Seeds that share a pipeline."""
SMALL = [
    (Arrow, "block_rows", 16), (Parquet, "block_rows", 16), (Csv, "block_rows", 16), (Jsonl, "block_rows", 16),
    (Maps, "block_rows", 16), (files, "_ROUTED_ROWS", 24), (files, "_PENDING_ROWS", 40),
    (files, "_LOGGED_ROWS", 60), (rowlog, "_FRAME_BYTES", 700), (rowlog, "_SEGMENT_BYTES", 3_000),
    (signals, "_GRACE_S", 600),
]  # fmt: skip
"""Blocks, files and logs of a few rows, so that little data meets every bound; and no real time is short."""
KILLS = ("before", "half", "after", "eio", "enospc")
POWER = ("power", "power_some")


class VirtualClock(Clock):
    """Time passes when something happens, and a sleep takes none of ours."""

    def __init__(self):
        self._ns = 7 * 10**9
        self.slept_s = 0.0

    def ns(self):
        self._ns += 1_000
        return self._ns

    def sleep(self, span_s):
        self.slept_s += span_s
        self._ns += max(1, round(span_s * 1e9))

    def pass_by(self, rng):
        """A delivery took its time."""
        self._ns += round(10 ** rng.uniform(6, 9.7))


class TurningDisk(FaultyDisk):
    """Before a durable call other threads may have their turn."""

    turns: Turns

    def pause(self):
        self.turns.pause()

    def _call(self, *call):
        self.pause()
        return super()._call(*call)


@contextlib.contextmanager
def without_system_time(offset_s):
    """The time of day is off, and goes back an hour whenever it is asked for; nobody may really sleep."""
    before = time.time, time.time_ns, time.sleep
    hours = iter(range(10**9))

    def off():
        return before[0]() + offset_s - 3600 * next(hours)

    def asleep(_):
        message = "something really sleeps"
        raise AssertionError(message)

    time.time, time.time_ns, time.sleep = off, lambda: int(off() * 1e9), asleep
    try:
        yield
    finally:
        time.time, time.time_ns, time.sleep = before


@contextlib.contextmanager
def small():
    """Blocks, files and logs of a few rows."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in SMALL]
    for owner, name, value in SMALL:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


@lru_cache(maxsize=4)
def compiled(number):
    """A pipeline, drafted and compiled, and its models."""
    drafted = pipeline(number)
    with contextlib.chdir(network.PATH.parent):
        plan = compile_flow(text=drafted.text, use_cache=False)
        return drafted, plan, load_models(plan.program)


class World:
    """What a seed stands for.

    Parameters
    ----------
    seed : all of it
    root : an empty directory
    run : makes the run of a plan; tests of the tests give one that is broken
    wrap : makes another plan of the plan, for the same purpose
    forget : as in `FaultyDisk`
    kinds : what may go wrong at a durable call; power is lost only where that may take no row

    Attributes
    ----------
    wrong : what is not as it should be, in words
    trace : everything that happened, in order
    """

    def __init__(
        self,
        seed,
        root,
        *,
        run=Run,
        wrap=lambda plan: plan,
        forget=lambda *_: False,
        kinds=(*KILLS, *POWER * 2),
    ):
        self.seed, self.root, self._run, self._forget = seed, Path(root), run, forget
        self.drafted, self.plan, self.models = compiled(seed // SHARED)
        self.kinds = [kind for kind in kinds if self.drafted.power or kind not in POWER]
        self.used = wrap(self.plan)
        self.random = random.Random(f"seed {seed}")
        self.wrong, self.trace = [], []
        self.lives = 0
        self.state = self.root / "state"
        rng = np.random.default_rng(seed)
        sources = [n.name for n in self.plan.program.nodes if isinstance(n, p.SourceSpec)]
        self.origins = {o.name: o for o in self.drafted.origins if o.name in sources}
        drawn = {o.name: log(rng, o) for o in self.drafted.origins}
        self.logs = {n: drawn[n] for n in sources}

    # ---- the plain run

    def expected(self):
        """What the plain run in memory gives, or the error that it ends with.

        Returns
        -------
        tables : by sink
        rejected : by source (file, row, reason), in that order
        error : None where there are tables
        """
        session = self.plan.open(self.models)
        found, rejected = {name: [] for name in session.schemas}, {}

        def keep(out):
            for name, batch in out.items():
                found[name].append(batch)

        try:
            for name, one in self.logs.items():
                rows, bad = one.between(0, len(one))
                keep(session.push(name, rows))
                keep(session.end(name))
                turned_away = [(one.readable[at], why) for _, at, why in session.rejected(name)]
                turned_away += [(at, UNREADABLE) for at in bad]
                rejected[name] = sorted(self._named(name, at, why) for at, why in turned_away)
            keep(session.finish())
        except InternalError:
            raise
        except FlowEdgeError as error:
            return None, None, error
        tables = {n: pa.Table.from_batches(b, session.schemas[n]) for n, b in found.items()}
        return tables, rejected, None

    def _named(self, source, number, reason):
        """A row as a file of rejected rows calls it."""
        if not self.origins[source].is_recorded:
            return source, number + 1, reason
        one = self.logs[source]
        file, row = one.place(number)
        return files_of(source, one)[file], row + 1, reason

    # ---- the same, with everything that may happen

    def live(self):
        """All lives of the process, until the run is complete; what is wrong with what they left."""
        wanted, rejected, failure = self.expected()
        recordings = {n: one for n, one in self.logs.items() if self.origins[n].is_recorded}
        topics = {n: Topic(n, o, self.state) for n, o in self.logs.items() if n not in recordings}
        broker = Broker(topics, recordings)
        faults = self.random.choice([0, 1, 1, 2, 3])
        here = Path.cwd()
        os.chdir(self.root)
        try:
            lay_out(recordings)
            if self.models:
                Path(network.PATH.name).symlink_to(network.PATH)
            with serving(broker), small():
                ended = self._lives(broker, faults)
        finally:
            os.chdir(here)
        for topic in broker.topics.values():
            self.wrong += topic.wrong
        if failure is not None:
            # Of several mistakes in the rows any may come first.
            if not isinstance(ended, type(failure)) and type(ended) not in (RunError, SourceError):
                self.wrong.append(f"the plain run says {failure!r}, this one {ended!r}")
        elif ended is not None:
            self.wrong.append(f"it failed: {ended!r}")
        else:
            self._compare(wanted)
            self._compare_rejected(rejected)
        return self.wrong

    def _lives(self, broker, faults):
        """None once a run has come to its end, or the error of the one in peace."""
        said = None
        for life in range(faults + 1):
            if self._is_over(broker):
                return None
            self.lives += 1
            said = self._life(broker, in_peace=life == faults)
            if said is None:
                return None
            self.trace.append(repr(said))
            if isinstance(said, InternalError):
                return said
            if isinstance(said, CheckpointError) and "cannot be read" not in str(said):
                return said
            self._damage()
        return said

    def _is_over(self, broker):
        """The last life ended behind the end of its run, where nothing is left to go on from."""
        saved = self.state.is_dir() and checkpoints_in(self.state)
        gone = [t.forgotten == len(t.log) for t in broker.topics.values()]
        return not saved and gone and all(gone)

    def _life(self, broker, *, in_peace):
        rng = self.random
        at, kind, events = -1, "before", {}
        if not in_peace:
            if self.kinds and rng.random() < 0.75:
                at, kind = int(10 ** rng.uniform(0.5, 2.4)), rng.choice(self.kinds)
            if rng.random() < 0.5:
                events[int(10 ** rng.uniform(0, 2))] = rng.choice(["kill", "stop", "stop twice"])
        clock, turns = VirtualClock(), Turns(random.Random(rng.random()))
        disk = TurningDisk(self.root / "aside", at, kind, rng.randrange(10**6), self._forget)
        disk.turns = turns
        most = rng.choice([1, 7, 40, 300])
        broker.begin(random.Random(rng.random()), clock, events, most, disk)
        options = {
            "every_s": rng.choice([0.0, 0.1, 1.0, 5.0, 60.0]),
            "speed": rng.choice([None, None, None, 3.0, 50.0]),
            "threads": rng.choice([1, 1, 2, 3]),
        }
        self.trace.append((sorted(events.items()), at, kind, sorted(options.items(), key=str)))
        said = None
        with using(disk, self.root), without_system_time(rng.uniform(-1e9, 1e9)):
            try:
                task = self._run(
                    self.used, checkpoint=self.state, clock=clock, workers=turns, **options
                )
                report = task()
                self.trace.append(
                    (report.resumed_from, report.checkpoints, sorted(report.hints), clock.slept_s)
                )
            except (Killed, KeyboardInterrupt, FlowEdgeError) as error:
                said = error.with_traceback(None)
                said.__context__ = None
        if turns.left and not isinstance(said, KeyboardInterrupt):  # asked twice, it leaves at once
            self.wrong.append(f"threads that nobody has ended: {turns.left}")
        self.trace += broker.trace
        self.trace += [
            (name, what.replace(str(self.root), ""))
            for name, what in disk.trace
            if not what.isdigit()
        ]
        if said is not None:
            gc.collect()  # the lock of a process that is gone is free
        return said

    def _damage(self):
        """Once in a while the disk spoils the newest checkpoint; an older one serves."""
        found = checkpoints_in(self.state) if self.state.is_dir() else []
        if len(found) < 3 or self.random.random() < 0.7:
            return
        path = found[-1][1]
        data = bytearray(path.read_bytes())
        if self.random.random() < 0.5 or not data:
            data = data[: self.random.randrange(len(data) + 1)]
        else:
            data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
        path.write_bytes(bytes(data))
        self.trace.append(("spoilt", path.name))

    # ---- without a process

    def arrive(self):
        """The rows again, in partitions, in whatever order they arrive; what can be seen of it."""
        sources = {name: one.between(0, len(one))[0] for name, one in self.logs.items()}
        rng = random.Random(f"arrivals {self.seed}")
        self.wrong += arrivals_seen(self.used, self.models, sources, rng, differences)
        return self.wrong

    # ---- what is left

    def _compare(self, wanted):
        out = {n.name: n for n in self.plan.program.nodes if isinstance(n, p.SinkSpec)}
        for name, table in wanted.items():
            found = self._written(out[name])
            if found is None:
                self.wrong.append(f"sink {name}: no file")
                continue
            self.wrong += [f"sink {name}: {w}" for w in differences(table, found)]

    def _compare_rejected(self, wanted):
        """Each rejected row stands where the pipeline says once, with its place and the reason."""
        kept = {c[0]: c[3].get("quarantine") for c in self.plan.program.connectors}
        for name, rows in wanted.items():
            if not kept[name]:
                continue
            path = self.root / kept[name]
            found = rejected_in(path) if path.is_file() else []
            if sorted(found) != rows:
                more, less = Counter(found) - Counter(rows), Counter(rows) - Counter(found)
                self.wrong.append(f"{kept[name]}: {dict(more)} too many, {dict(less)} lacking")

    def _written(self, sink):
        path = self.root / sink.address
        if sink.connector == "arrow" and path.is_file():
            with pa.memory_map(str(path)) as file:
                return pa.ipc.open_file(file).read_all()
        found = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
        found = [f for f in found if not f.name.startswith(".") and "_quarantine" not in f.parts]
        return pa.concat_tables([pq.ParquetFile(f).read() for f in found]) if found else None

    def told(self):
        """The world in words, and how to see it again."""
        return (
            f"seed {self.seed}, pipeline {self.seed // SHARED}:\n{self.drafted.text}\nschedule:\n"
            + "".join(f"    {step}\n" for step in self.trace if not isinstance(step, tuple) or len(step) != 2)
            + "wrong:\n" + "".join(f"    {w}\n" for w in self.wrong)
            + f"again: PYTHONPATH=$PWD:$PWD/tests .venv/bin/python -m support.simulation {self.seed}\n"
        )  # fmt: skip


def rejected_in(path):
    """(file, row, reason) of each row of a file of rejected rows."""
    match path.suffix:
        case ".arrow":
            with pa.memory_map(str(path)) as file:
                rows = pa.ipc.open_file(file).read_all().to_pylist()
        case ".parquet":
            rows = pq.read_table(path).to_pylist()
        case ".csv":
            rows = pacsv.read_csv(path).to_pylist()
        case ".jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
        case _:
            with path.open("rb") as file:
                rows = list(msgpack.Unpacker(file))
    return [(row["file"], row["row"], row["reason"]) for row in rows]


def differences(wanted, found):
    """How two tables differ; a NaN is as good as any other, and a missing number as a NaN."""
    if wanted.num_rows != found.num_rows:
        return [f"{found.num_rows} rows, not {wanted.num_rows}"]
    if wanted.column_names != found.column_names:
        return [f"columns {found.column_names}, not {wanted.column_names}"]
    out = []
    for name in wanted.column_names:
        one, two = (_plain(t[name]) for t in (wanted, found))
        if not len(one):
            continue
        if not one.equals(two):
            at = next(i for i in range(len(one)) if not one[i : i + 1].equals(two[i : i + 1]))
            out.append(f"`{name}` in row {at} is {two[at]}, not {one[at]}")
    return out


def _plain(column):
    """Floats as their bits, with one NaN; dictionaries as their values."""
    if not column.num_chunks:  # no rows; names of columns are compared before
        return pa.nulls(0)
    array = pa.concat_arrays([_decoded(c) for c in column.chunks])
    if pa.types.is_fixed_size_list(array.type) or pa.types.is_list(array.type):
        array = array.flatten()
    if pa.types.is_floating(array.type):
        wide = np.float64 if array.type == pa.float64() else np.float32
        values = array.to_numpy(zero_copy_only=False).astype(wide)
        values[np.isnan(values)] = np.nan
        return pa.array(values.view(np.int64 if wide is np.float64 else np.int32))
    return array if array.type != pa.large_string() else array.cast(pa.string())


def _decoded(chunk):
    return chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk


def live(seed, parent, **options):
    """The world of a seed, lived through."""
    root = Path(parent) / f"seed{seed}"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    world = World(seed, root, **options)
    with watched(world.wrong):
        world.live()
        world.arrive()
    shutil.rmtree(root)
    return world
