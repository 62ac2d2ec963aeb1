"""A run from files to files: sources read in turn, one session, sinks that show all or nothing."""

import contextlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from flowedge.compile import program as p
from flowedge.compile.hands import HANDS
from flowedge.lang.errors import FlowEdgeError, RunError, SinkError
from flowedge.runtime.accounts import count_values, where_rows_went
from flowedge.runtime.changing import Changed, Changing
from flowedge.runtime.checkpoint import Saved, State, compare
from flowedge.runtime.clock import SYSTEM, Clock
from flowedge.runtime.ending import Ended, Interrupted, end_here, interrupted
from flowedge.runtime.feeds import Feeds, open_feeds
from flowedge.runtime.intake import Intake
from flowedge.runtime.keeping import Covered, acknowledge, go_on, inputs_of, states_of
from flowedge.runtime.life import Life
from flowedge.runtime.live import Live, listen
from flowedge.runtime.memory import Memory
from flowedge.runtime.models import Allowed, Models, files_of
from flowedge.runtime.operate.events import say
from flowedge.runtime.operate.monitor import Monitor
from flowedge.runtime.operate.reload import Recompile
from flowedge.runtime.operate.status import parts_of
from flowedge.runtime.outlets import Outlets
from flowedge.runtime.overload import Overload
from flowedge.runtime.pace import Pace
from flowedge.runtime.plan import Plan
from flowedge.runtime.punctual import Acts
from flowedge.runtime.reading import Reading
from flowedge.runtime.realtime import Collector, RealTime
from flowedge.runtime.recording import Player, Recorder
from flowedge.runtime.report import Report
from flowedge.runtime.signals import Asked, stop_signals
from flowedge.runtime.skew import ClockWatch
from flowedge.runtime.threads import SYSTEM as SYSTEM_THREADS
from flowedge.runtime.threads import Workers
from flowedge.session.mapping import adapted
from flowedge.sinks.contract import Provenance
from flowedge.sources.messages import RECEIVED
from flowedge.types.heap import keep_freed_memory

if TYPE_CHECKING:
    from flowedge.runtime.keys import SigningKey
    from flowedge.session.session import Session

Progress = Callable[[Report], None]

_TOLD_EVERY_S = 0.2
_SOON_S = 0.02
"""Between two checkpoints that a source or a peer asks for."""
_FULL_S = 0.05
"""So long the run waits for room at a peer, before it looks at all else."""


@dataclass
class Run:
    """Everything of one run that is open.

    Parameters
    ----------
    plan : what to run
    trusted : what models may do
    progress : called with the report as it stands, a few times a second
    speed : a multiple of real time, None for as fast as possible
    threads : 1: all in turn; 2: sources are read ahead; 3 or more: sinks are also written behind, and heavy work that falls
        into parts (frames of a model, keys of a kernel) is done by all but one of them at once
        The rows do not depend on it.
    checkpoint : directory of the state, from which a killed run goes on; None: no checkpoints
    every_s : seconds between checkpoints
    key : signs the files and authenticates the checkpoints
    max_memory : bytes that the run may hold; over them it stops safely. None: any number
    name : what others are told that want the same state
    discard : nodes, streams or sinks whose state is given up where the pipeline has changed; "*" for all
    models : what answers for models, by name, besides those that the pipeline names files of
    record : where all that enters the session is noted, so that it can be done again; None: nowhere
    as_recorded : the recording of a run that is done again, in the place of its sources; None: they are read
    real_time : what is asked of the system
    monitor : watches the run, and hears of all that happens in it
    again : how its plan was made, so that SIGHUP makes it anew; None: SIGHUP looks for other models alone
    clock : all that the run knows of time
    workers : whose threads it uses
    """

    plan: Plan
    trusted: Allowed = field(default_factory=Allowed)
    progress: Progress | None = None
    report: Report = field(default_factory=Report)
    speed: float | None = None
    threads: int = 1
    checkpoint: Path | None = None
    every_s: float = 10.0
    key: "SigningKey | None" = None
    discard: tuple[str, ...] = ()
    max_memory: int | None = None
    name: str = ""
    models: Mapping[str, Any] = field(default_factory=dict)
    record: Path | None = None
    as_recorded: Path | None = None
    real_time: RealTime = field(default_factory=RealTime)
    monitor: Monitor = field(default_factory=Monitor)
    again: Recompile | None = None
    clock: Clock = SYSTEM
    workers: Workers = SYSTEM_THREADS
    _state: State | None = None
    _told: float = 0.0
    _saved_at: float = 0.0
    _played: int = 0
    _recorder: Recorder | None = None
    _player: Player | None = None
    _reading: Reading = field(init=False)
    _memory: Memory = field(default_factory=Memory)
    _covered: Covered = field(default_factory=Covered)
    _life: Life = field(init=False)
    _changing: Changing | None = None

    def __call__(self) -> Report:
        """Read all, write all; raises RunError, or Interrupted after the state is consistent."""
        started = self.clock.s()
        keep_freed_memory()
        self._memory = Memory(self.max_memory)
        self.report.compile_s = self.plan.compile_s
        self.report.plan_from_cache = self.plan.from_cache
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.real_time.granted())
            stack.enter_context(HANDS.taken(self.threads - 1))
            stop = stack.enter_context(stop_signals(reloads=self._reloads, turn=self.monitor.turn))
            stack.callback(self.monitor.stopping)
            if self.as_recorded is not None:
                self._player = Player(self.as_recorded)
            life: Life | None = self._open(self.plan)
            stack.callback(self._close)
            if self.checkpoint is not None:
                self._state = State(
                    self.checkpoint,
                    None if self.key is None else self.key.checkpoint_key(),
                    pipeline=self.name,
                    clock=self.clock,
                )
                stack.callback(self._state.close)
                self._changing = Changing(
                    self.again, self._state.root, self.trusted, self.clock, self._open, self._outlets, self.monitor, self.report,
                    is_recorded=self.record is not None,
                )  # fmt: skip
                stack.callback(self._changing.close)
            try:
                while life is not None:
                    life = self._lived(life, stop)
            finally:
                self.report.wall_s = self.clock.s() - started
                self.report.finish()
        return self.report

    # ---- lives: one for each pipeline that the run has

    def _open(self, plan: Plan) -> Life:
        """All that a pipeline needs but its outputs and its state; raises RunError."""
        feeds = open_feeds(plan.program)
        keeps_time = self.speed is not None or bool(feeds.live)
        models = Models(
            plan.program, self.trusted, self.clock, deadlines=keeps_time or self._player is not None,
            again=None if self._player is None else self._player.late, on_late=self._note_late,
        )  # fmt: skip
        models.by_name.update(self.models)
        life = Life(plan, feeds, models, plan.open(models.by_name))
        if not hasattr(self, "_life"):
            self._life = life
        return life

    def _outlets(self, life: Life, report: Report) -> Outlets:
        """The outputs of a pipeline, not yet opened; raises SinkError."""
        keeps_time = self.speed is not None or bool(life.feeds.live)
        sign = None if self.key is None else self.key.sign
        return Outlets(
            life.plan.program, life.session.schemas, report, self._state, behind=self.threads > 2,
            most_bytes=self._memory.queue_bytes, provenance=Provenance(_header(life.plan.program), sign=sign),
            acts=self._acts(keeps_time=keeps_time), clock=self.clock, workers=self.workers,
        )  # fmt: skip

    def _close(self) -> None:
        """End what belongs to the last life, and what wakes the run in all of them."""
        self._life.close()
        if self._life.live is not None:
            self._life.live.bell.close()

    def _lived(self, life: Life, stop: Asked) -> Life | None:
        """Live one life; the next one, or None where the run is complete. Raises RunError, Interrupted."""
        before = self._life
        try:
            self._live(life, stop)
        except Changed as change:
            return change.life
        except FlowEdgeError as error:
            if self._changing is None or life.saved is None or life.is_up or isinstance(error, Interrupted):  # fmt: skip
                raise
            try:
                again = self._again(before.plan, life)
            finally:
                life.close()
            self._changing.refuse(f"it could not take over: {error}")
            return again
        return None

    def _again(self, plan: Plan, failed: Life) -> Life:
        """The pipeline of before, where the checkpoint was made that another one could not go on from."""
        saved = failed.saved
        assert saved is not None
        assert saved.session is not None
        life = self._life = self._open(plan)
        self._find_swapped(life, saved)
        life.session = plan.restore(saved.session, life.models.by_name)
        life.saved, life.is_up = saved, True
        life.take_sources(failed)
        return life

    def _live(self, life: Life, stop: Asked) -> None:
        """Read all, write all; raises RunError, Interrupted, or Changed where another life is to follow."""
        feeds = life.feeds
        self.report.sources.clear()
        self.report.sinks.clear()
        outlets = self._outlets(life, self.report)
        for name, feed in feeds.by_name.items():
            self.report.sources[name] = feed.report
        session, saved = life.session, life.saved
        self._life, self.plan = life, life.plan
        self.monitor.begin(self._pipeline)
        try:
            if saved is not None:
                self._take_over(saved, feeds, outlets, ())
            elif (saved := self._newest(feeds, outlets)) is not None:
                say("resumed", epoch=saved.epoch)
                self._find_swapped(life, saved)
                if saved.session is not None:
                    value, notes = adapted(self.plan.program, saved.session, self._of_nodes(saved))
                    session = life.session = self.plan.restore(value, life.models.by_name)
                    self.report.hints += notes
            else:
                self._find_swapped(life, None)
            if saved is None or not saved.is_finished:
                session.warm_up()
                self._begin_recording(saved)
                reading = self._reading = Reading(
                    Intake(session, self._recorder), outlets, life.models, self.clock,
                    partial(self._tell, session, outlets), self._overload(feeds),
                )  # fmt: skip
                outlets.open()
                if self._player is None:
                    self._read(reading, feeds, stop)
                if self._player is None or self._play(self._player, reading, feeds, stop):
                    self.monitor.finishing()
                    self._finish(session, feeds, outlets, stop)
                else:
                    self.report.hints.append(end_here(session, outlets, self.report, self._state))
            else:
                outlets.open_peers()
            self._deliver(session, outlets, stop)
            outlets.settle()
            if self._state is not None:
                self._state.drop_old(1)  # all rows are in files that are shown
                acknowledge(feeds, {n: f.position for n, f in feeds.by_name.items()})
                self._state.clear()
            outlets.farewell()
            self.report.is_complete = True
            if self._recorder is not None:
                self._recorder.close()
            self._tell(session, outlets, is_last=True)
        except Changed:
            raise
        except BaseException:
            if life.saved is None or life.is_up:  # else the life before takes its sources back
                feeds.close()
            self._cut_short(session, feeds, outlets)
            raise

    def _newest(self, feeds: Feeds, outlets: Outlets) -> Saved | None:
        """The checkpoint to go on from, once all that it decided is done; None to start afresh."""
        if self._state is None:
            return None
        saved, passed_over = self._state.newest(outlets.holds)
        if saved is None:
            return None
        compare(saved, self._pipeline, inputs_of(feeds), self._state.root)
        if saved.session is not None:
            adapted(
                self.plan.program, saved.session, self._of_nodes(saved)
            )  # before a file is touched
        self._take_over(saved, feeds, outlets, self.discard)
        if passed_over:
            self.report.hints.append(f"went back to checkpoint {saved.epoch}: {passed_over}")
        self.report.hints += outlets.notes
        return saved

    def _take_over(
        self, saved: Saved, feeds: Feeds, outlets: Outlets, discard: Collection[str]
    ) -> None:
        """Go on where a checkpoint was made; raises SinkError, CheckpointError."""
        outlets.recover(saved, discard)
        self.report.resumed_from = self.report.resumed_from or saved.epoch
        go_on(saved, feeds)
        outlets.go_on(saved.report["sinks"])
        self.report.streams = saved.report["streams"]
        self.report.models = saved.report.get("models", {})

    def _of_nodes(self, saved: Saved) -> set[str]:
        """What is given up of the session's state; the others are sinks."""
        sinks = {f"sink {name}" for name in saved.outputs}
        return {name for name in self.discard if name not in sinks}

    def _finish(self, session: "Session", feeds: Feeds, outlets: Outlets, stop: Asked) -> None:
        """All rows are read: complete the files, and show them."""
        if self._state is not None:
            self._save(session, feeds, outlets)
        self._look_at_memory(session, feeds, outlets)
        self._life.models.came(self.clock.ns())
        outlets.write(session.finish())
        self.report.streams = session.ledger()
        self.report.models = session.models_told()
        count_values(session, feeds)
        self.report.hints += where_rows_went(self.plan.program, session)
        if not outlets.finish(stop):
            interrupted(outlets, self._state)
        if self._state is not None:
            self._save(session, feeds, outlets, is_finished=True)
        else:
            outlets.prepare()
            outlets.commit()

    def _deliver(self, session: "Session", outlets: Outlets, stop: Asked) -> None:
        """Wait until the peers have all rows, as long as it takes."""
        while not outlets.wait_for_peers(_FULL_S):
            if stop():
                interrupted(outlets, self._state)
            self._tell(session, outlets)
        outlets.tell()

    # ---- reading

    def _read(self, reading: Reading, feeds: Feeds, stop: Asked) -> None:
        session, outlets = reading.session, reading.outlets
        pace = Pace(self.speed, self.clock)
        self._saved_at = self.clock.s()
        for one in feeds.by_name.values():
            if not one.done and one.live is None:
                one.start(
                    ahead=self.threads > 1,
                    most_bytes=self._memory.queue_bytes,
                    workers=self.workers,
                )
        collector = Collector(self.clock)
        with collector.aside() if feeds.live else contextlib.nullcontext():
            self._read_on(reading, feeds, stop, pace, collector)
        if stop():
            self._stop(session, feeds, outlets)

    def _read_on(
        self, reading: Reading, feeds: Feeds, stop: Asked, pace: Pace, collector: Collector
    ) -> None:
        session, outlets = reading.session, reading.outlets
        for one in feeds.live:
            is_watched = one.live is not None and one.live.is_watched
            if is_watched and session.sources[one.name].spec.time not in ("", RECEIVED):
                one.watch = ClockWatch(self.clock)
        before = self._life.live
        live = listen(feeds, self.clock, covers=self._state is not None, before=before)
        self._life.live = live
        if reading.overload is not None:  # and not as it was when a checkpoint was made
            reading.intake.shed_below(reading.overload.below)
        self._is_up(session, outlets)
        while not feeds.are_done:
            if stop():
                self._stop(session, feeds, outlets)
            outlets.check()
            if live is not None:
                outlets.make_room()
            is_full = outlets.are_full
            has_come = False
            if live is not None and not is_full:
                has_come = reading.all_of(live)
            feed = None if is_full else feeds.next()
            if feed is not None:
                has_come = True
                reading.next_of(feed, pace, stop, stops_inside=self._state is None)
            elif live is None and not is_full:
                break
            self._look_after(session, feeds, outlets, live)
            if self._changing is not None:
                save = partial(self._save, session, feeds, outlets)
                self._changing.serve(self._life, outlets, stop, save)
            if live is not None:
                collector.rest(is_quiet=not has_come)
            if is_full:
                outlets.wait(min(self.every_s, _FULL_S))
                continue
            # Behind rows a wait ends at once where more have come; a pass that would find nothing is saved.
            may_wait = not has_come or (live is not None and live.sees_all and not collector.is_due)
            if live is not None and feed is None and may_wait:
                live.wait(self.every_s)

    # ---- recordings of runs

    def _note_late(self, model: str, call: int) -> None:
        if self._recorder is not None:
            self._recorder.late(model, call)

    def _acts(self, *, keeps_time: bool) -> Acts:
        """What becomes of rows because of time: as the clock says, or as it was in the run that is done again."""

        def note(what: str, sink: str, rows: list[int]) -> None:
            if self._recorder is not None:
                self._recorder.act(what, sink, rows)

        player = self._player
        if player is not None:
            return Acts(missed=player.missed, shed=player.shed, note=note)
        return Acts(keeps_time=keeps_time, note=note)

    def _overload(self, feeds: Feeds) -> Overload | None:
        """What is left out where live rows wait too long; None: nothing."""
        if not feeds.live or self._player is not None:
            return None
        found = Overload(self.plan.program.nodes)
        return found if found.may_act else None

    def _begin_recording(self, saved: Saved | None) -> None:
        """Open the file that all is noted in, and count on from a checkpoint; raises SinkError."""
        told = {} if saved is None else saved.report
        self._life.models.go_on(told.get("calls", {}))
        self._played = told.get("played", 0)
        if self.record is not None:
            self._recorder = Recorder(self.record, self._pipeline, told.get("recorded"))

    def _play(self, player: Player, reading: Reading, feeds: Feeds, stop: Asked) -> bool:
        """Let all enter that was recorded, in its order; whether the sources had come to their end."""
        session, outlets = reading.session, reading.outlets
        if player.pipeline != self._pipeline:
            self.report.hints.append(f"`{player.path}` was recorded with another pipeline")
        self._saved_at = self.clock.s()
        self._is_up(session, outlets)
        for number, (kind, name, *more) in player.play(self._played):
            feed = None if kind == "below" else feeds.by_name.get(name)
            if feed is None and kind != "below":
                raise RunError(
                    f"`{player.path}` has rows of `{name}`, and the pipeline has no such source"
                )
            while outlets.are_full and not stop():
                outlets.check()
                self._look_after(session, feeds, outlets, None)
                outlets.wait(min(self.every_s, _FULL_S))
            if stop():
                self._stop(session, feeds, outlets)
            outlets.check()
            if feed is None:
                reading.intake.shed_below(name)
            else:
                reading.again(feed, kind, more)
            self._played = number + 1
            self._look_after(session, feeds, outlets, None)
        if player.is_cut_short:
            self.report.hints.append(
                f"`{player.path}` ends in the middle of an entry; all before was done again"
            )
        return feeds.are_done

    def _look_after(
        self, session: "Session", feeds: Feeds, outlets: Outlets, live: Live | None
    ) -> None:
        """What is due between two pushes: a look at the memory, a checkpoint, word for the terminal."""
        if self._memory.is_due(self._reading.nbytes):
            self._look_at_memory(session, feeds, outlets)
        self._reading.nbytes = 0
        if self._state is not None and self._is_save_due(live, outlets):
            self._save(session, feeds, outlets)
        self._tell(session, outlets)

    def _is_save_due(self, live: Live | None, outlets: Outlets) -> bool:
        """Whether the state is to be kept now: it is time, or a source or a peer waits for it."""
        since = self.clock.s() - self._saved_at
        is_pressing = outlets.is_pressing or (live is not None and live.is_pressing)
        return since >= self.every_s or (is_pressing and since >= _SOON_S)

    def _is_up(self, session: "Session", outlets: Outlets) -> None:
        """Sources are begun and models are warm."""
        life = self._life
        if life.saved is None or life.is_up or self._changing is None:
            self.monitor.ready()
        else:
            self._changing.took_over(life)
        life.is_up = True
        self._tell(session, outlets, is_last=True)

    # ---- other models, and other pipelines

    @property
    def _reloads(self) -> bool:
        """Whether SIGHUP brings another pipeline and other models: with a state, and no terminal that may be gone."""
        may = self.checkpoint is not None and self.as_recorded is None
        has_any = self.again is not None or bool(files_of(self.plan.program))
        return may and has_any and not any(map(os.isatty, (0, 1, 2)))

    def _find_swapped(self, life: Life, saved: Saved | None) -> None:
        """Go on with the models that were running when the checkpoint was made."""
        swaps = None if self._changing is None else self._changing.swaps_of(life)
        if swaps is None:
            return
        life.swaps = swaps
        if saved is not None:
            swaps.restore(saved.report.get("swapped", {}))
        for name, request in swaps.done.items():
            if name in life.models.by_name:
                life.models.add(name, swaps.load(request))

    def _look_at_memory(self, session: "Session", feeds: Feeds, outlets: Outlets) -> None:
        """Keep within `max_memory`; raises MemoryExceededError."""
        has_state = self._state is not None
        save = partial(self._save, session, feeds, outlets) if has_state else None
        try:
            may_shed = self._life.live is not None and self._player is None
            self._memory.look(
                session, feeds, outlets, save, str(self.checkpoint), may_shed=may_shed
            )
        finally:
            self.report.state_bytes = self._memory.peak_total
            self.report.state_bytes_by_node = self._memory.peak

    def _tell(self, session: "Session", outlets: Outlets, *, is_last: bool = False) -> None:
        """Let the terminal and whoever watches know how far the run is."""
        now = self.clock.s()
        if self.progress is None and not self.monitor.is_watched:
            return
        if now - self._told < _TOLD_EVERY_S and not is_last:
            return
        self._told = now
        with contextlib.suppress(
            FlowEdgeError
        ):  # in the middle of a push the counts need not add up
            self.report.streams = session.ledger()
        self.report.models = session.models_told()
        for name, source in session.sources.items():
            self.report.sources[name].watermark_ns = source.watermark
        self.report.count_losses()
        if self.monitor.is_watched:
            feeds = self._life.feeds
            held = self._memory.held(session, feeds, outlets)
            parts = parts_of(self.report, session, feeds, outlets, held)
            self.monitor.publish(parts, self.max_memory, saves=self._state is not None)
        if self.progress is not None:
            outlets.tell()
            self.progress(self.report)

    # ---- stopping and going on

    @property
    def _pipeline(self) -> str:
        return self.plan.program.digest

    def _stop(self, session: "Session", feeds: Feeds, outlets: Outlets) -> NoReturn:
        """End the run as asked, between two batches."""
        say("stopping")
        self.monitor.stopping()
        if self._state is not None:
            self._save(session, feeds, outlets)
            outlets.linger()
            if outlets.have_moved:  # or what they have taken since would be sent again
                self._save(session, feeds, outlets)
        elif feeds.live:
            told = end_here(session, outlets, self.report, self._state)
            raise Ended(f"interrupted; {told}")
        interrupted(outlets, self._state)

    def _cut_short(
        self,
        session: "Session",
        feeds: Feeds,
        outlets: Outlets,
    ) -> None:
        outlets.abort()
        if self._recorder is not None:
            with contextlib.suppress(SinkError):
                self._recorder.close()
        with contextlib.suppress(FlowEdgeError):  # the counts of a run cut short need not add up
            self.report.streams = session.ledger()
        self.report.models = session.models_told()
        count_values(session, feeds)
        outlets.tell()

    def _save(
        self,
        session: "Session",
        feeds: Feeds,
        outlets: Outlets,
        *,
        is_finished: bool = False,
    ) -> Saved:
        """Make a checkpoint, and give it: all rows so far last, then it, then what it decides is shown."""
        assert self._state is not None
        began = self.clock.s()
        outputs = outlets.prepare()
        recorded = None if self._recorder is None else self._recorder.sync()
        self.report.streams = session.ledger()  # and it adds up, or this is no state to keep
        sources = states_of(feeds)
        swaps = self._life.swaps
        saved = Saved(
                self._state.epoch + 1, self._pipeline, inputs_of(feeds), None if is_finished else session.state(),
                sources, outputs,
                {
                    "sources": {n: asdict(r) for n, r in self.report.sources.items()},
                    "sinks": {
                        n: {"rows": r.rows, "late": r.late, "dropped": r.dropped, "shed": r.shed}
                        for n, r in self.report.sinks.items()
                    },
                    "streams": self.report.streams,
                    "models": session.models_told(),
                    "swapped": {} if swaps is None else swaps.state(),
                    "calls": self._life.models.calls(),
                    "played": self._played,
                    "recorded": recorded,
                },
                is_finished=is_finished,
        )  # fmt: skip
        self._state.save(saved)
        outlets.commit()
        outlets.forget(self._state.drop_old())
        self._covered.add(feeds, sources)
        took_s = self.clock.s() - began
        self.report.checkpoints += 1
        self.report.checkpoint_s += took_s
        self._saved_at = self.clock.s()
        self.monitor.saved(saved.epoch, took_s)
        return saved


def _header(program: p.Program) -> dict[str, Any]:
    """What the files of a run tell of where they come from."""
    models = {m.name: m.sha256 for m in program.models if m.sha256}
    return {"pipeline": program.digest, **({"models": models} if models else {})}
