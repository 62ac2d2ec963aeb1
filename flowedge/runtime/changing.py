"""Another pipeline in the place of one that runs: SIGHUP asks for it, a checkpoint carries the state over.

The text is checked and compiled in a process of its own, and its models are loaded on a thread, while the run goes on. Then the run
makes a checkpoint, and a session of the new pipeline is made of it. Only if all of that succeeds is the old one let go: peers
are left, files closed up to the checkpoint, and opened again as they are after a kill. Live sources that are the same in both are handed
over as they are. A pipeline that cannot open its outputs gives way to the one before, at the same checkpoint.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from flowedge.lang.errors import CheckpointError
from flowedge.runtime.checkpoint import Saved, compare
from flowedge.runtime.clock import Clock
from flowedge.runtime.keeping import inputs_of
from flowedge.runtime.life import Life
from flowedge.runtime.models import Allowed, files_of
from flowedge.runtime.operate.events import say
from flowedge.runtime.operate.monitor import Monitor
from flowedge.runtime.operate.reload import Attempt, Recompile, differ_in_models_alone
from flowedge.runtime.outlets import Outlets
from flowedge.runtime.plan import Plan
from flowedge.runtime.report import Report
from flowedge.runtime.signals import Asked
from flowedge.runtime.swap import Swaps
from flowedge.session.mapping import adapted


class Changed(Exception):  # noqa: N818  # it is what happens next
    """Another pipeline takes over; the checkpoint that it goes on from is in its `saved`."""

    def __init__(self, life: Life) -> None:
        super().__init__()
        self.life = life


@dataclass
class Changing:
    """Serves SIGHUP and `flowedge model swap`.

    Parameters
    ----------
    how : the plan was made; None: SIGHUP looks for other models alone
    root : directory of the state
    trusted : what models may do
    open_life : makes all that a pipeline needs but its outputs and its state
    outlets : makes outputs that are not opened
    monitor, report : where it is told
    is_recorded : all that enters is noted, for one pipeline
    """

    how: Recompile | None
    root: Path
    trusted: Allowed
    clock: Clock
    open_life: Callable[[Plan], Life]
    outlets: Callable[[Life, Report], Outlets]
    monitor: Monitor
    report: Report
    is_recorded: bool = False
    _attempt: Attempt | None = None
    _life: Life | None = None

    def serve(self, life: Life, outlets: Outlets, asked: Asked, save: Callable[[], Saved]) -> None:
        """Do what is asked for, between two batches.

        Parameters
        ----------
        life : the one that runs
        save : makes a checkpoint

        Raises
        ------
        Changed
            another life follows; this one is closed
        """
        if self._attempt is not None:
            if self._attempt.is_done:
                attempt, self._attempt = self._attempt, None
                self._judge(attempt, life, outlets, save)
            return  # models are left as they are while another pipeline is made ready
        if asked.reload and self.how is not None:
            asked.reload = False
            self.monitor.reloading()
            if self.is_recorded:
                self.refuse("a recording is of one pipeline; stop the run, and record another one")
                return
            if not self.how.has_changed():  # models need not wait for what may have changed besides
                asked.reload = True
                self._swap(life, asked, save)
            self._life = life
            self._attempt = Attempt(self.how, self._made_ready)
        else:
            self._swap(life, asked, save)

    def refuse(self, why: str) -> None:
        """Go on as before, and say why."""
        say("reload_refused", why=why)
        self.report.hints.append(f"the pipeline that SIGHUP brought was refused: {why}")
        self.monitor.reloaded("refused")

    def took_over(self, life: Life) -> None:
        """Another pipeline is at work."""
        assert life.saved is not None
        digest = life.plan.program.digest
        say("reloaded", pipeline=digest, changed="pipeline", kept=life.kept)
        self.report.hints.append(f"another pipeline from checkpoint {life.saved.epoch} on")
        self.monitor.reloaded("pipeline")

    def close(self) -> None:
        """End an attempt that is under way."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.close()
            found = attempt.found
            if (
                found is not None
                and self._life is not None
                and found.models is not self._life.models
            ):
                found.close()

    def swaps_of(self, life: Life) -> Swaps | None:
        """What serves requests for other models; None without models."""
        if not life.models.by_name:
            return None
        return Swaps(life.plan.program, self.root, self.trusted, self.clock)

    # ---- parts

    def _swap(self, life: Life, asked: Asked, save: Callable[[], Saved]) -> None:
        if life.swaps is not None:
            told = life.swaps.serve(life.session, life.models, asked, save)
            self.report.hints += told
            for text in told:
                say("note", text=text)
        asked.reload = False

    def _made_ready(self, plan: Plan) -> Life:  # on the thread of the attempt
        """The life of another pipeline but for its state, its models loaded and warm; raises RunError."""
        before = self._life
        assert before is not None
        old, new = before.plan.program, plan.program
        if new.digest == old.digest or differ_in_models_alone(old, new):
            return replace(before, plan=plan)
        life = self.open_life(plan)
        try:
            life.swaps = self.swaps_of(life)
            if before.swaps is not None and life.swaps is not None:
                are, were = ({f.name: f for f in files_of(x)} for x in (new, old))
                for name, request in before.swaps.done.items():
                    if name in are and were.get(name) == are[name]:
                        life.swaps.done[name] = request
                        life.models.add(name, life.swaps.load(request))
            plan.open(life.models.by_name).warm_up()
        except BaseException:
            life.close()
            raise
        return life

    def _judge(
        self, attempt: Attempt, before: Life, outlets: Outlets, save: Callable[[], Saved]
    ) -> None:
        """Another pipeline is made ready, or is wrong: go on with it, or as before."""
        if attempt.warnings:
            say("warning", text=attempt.warnings)
        life: Life | None = attempt.found
        if life is None:
            self.refuse(attempt.problem)
            return
        if life.models is before.models:  # nothing is other, or the bytes of models alone
            is_same = life.plan.program.models == before.plan.program.models
            asked = Asked()
            asked.reload = not is_same
            self._swap(before, asked, save)
            kept = sorted(before.feeds.by_name)
            say("reloaded", pipeline=before.plan.program.digest, changed="nothing" if is_same else "models", kept=kept)  # fmt: skip
            self.monitor.reloaded("unchanged" if is_same else "models")
            return
        try:
            saved = save()
            notes = self._fit(life, saved)
        except CheckpointError as error:
            life.close()
            self.refuse(str(error))
            return
        except BaseException:
            life.close()
            raise
        if outlets.rest():  # peers have taken rows since, and do not say so themselves
            saved = save()
        life.saved = saved
        life.take_sources(before)
        outlets.abort()
        before.close()
        self.report.hints += notes
        for text in notes:
            say("note", text=text)
        raise Changed(life)

    def _fit(self, life: Life, saved: Saved) -> list[str]:
        """Make the session of another pipeline out of the state of this one; what became of it. Raises CheckpointError."""
        assert saved.session is not None
        compare(saved, life.plan.program.digest, inputs_of(life.feeds), self.root)
        value, notes = adapted(life.plan.program, saved.session, ())
        life.session = life.plan.restore(value, life.models.by_name)
        self.outlets(life, Report()).compare(saved)
        return notes
