"""How a run ends that is asked to stop, and what it says then."""

from typing import TYPE_CHECKING, NoReturn

from flowedge.lang.errors import FlowEdgeError
from flowedge.runtime.checkpoint import State
from flowedge.runtime.outlets import Outlets
from flowedge.runtime.report import Report

if TYPE_CHECKING:
    from flowedge.session.session import Session


class Interrupted(FlowEdgeError):  # noqa: N818  # it is what happened, not a mistake
    """The user or the system asked the run to stop."""

    exit_code = 130


class Ended(Interrupted):
    """A live run was asked to stop, which is how it ends: its outputs are complete up to there."""


def end_here(session: "Session", outlets: Outlets, report: Report, state: State | None) -> str:
    """Finish the files of a live run with what is final, for nobody sends it again; what there is to say."""
    report.streams = session.ledger()
    if outlets.finish(lambda: False):
        outlets.prepare()
        outlets.commit()
        outlets.settle()
    outlets.linger()
    held = sum(counts.get("held", 0) for counts in report.streams.values())
    rows = f"{held:,} rows were" if held != 1 else "1 row was"
    what = f"; {rows} not final yet, and are in none" if held else ""
    return f"the outputs are complete up to here{what}{_undelivered(outlets, state)}"


def interrupted(outlets: Outlets, state: State | None) -> NoReturn:
    """Say where the run can go on; raises Interrupted."""
    outlets.linger()
    left = _undelivered(outlets, state)
    if state is None:
        raise Interrupted(
            f"interrupted; unfinished output was removed, finished output stays{left}"
        )
    raise Interrupted(
        f"interrupted{left}; the state is in `{state.root}`, run the same command again to go on"
    )


def _undelivered(outlets: Outlets, state: State | None) -> str:
    """What a run that ends says of the rows that wait for a peer."""
    if not (left := outlets.undelivered()):
        return ""
    rows = ", ".join(f"{count:,} of `{name}`" for name, count in left.items())
    where = "are kept with the state" if state is not None else "are lost"
    return f"; rows that were not delivered {where}: {rows}"
