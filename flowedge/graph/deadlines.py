"""Deadlines: how long a result may take, and what happens when it takes longer."""

from flowedge.graph import constants as k
from flowedge.graph.calls.arguments import WrongArguments
from flowedge.graph.checker import Checker
from flowedge.graph.place import Place
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean


class UnknownPolicy(Rule):
    """What happens at a missed deadline is one of a few words.

    Of a row at a sink: ``keep`` or ``drop``. Of a frame that gets no answer of a model: ``keep`` (wait for
    it, and mark the row as late), ``drop``, ``missing``, ``hold`` (the key's last answer), ``label "…"``, or
    ``with`` another model that gives the same labels.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s deadline 1 s else forget to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s deadline 1 s else drop to console
    """

    code = "FE216"


POLICIES = ("keep", "drop", "hold", "missing", "label")


def policy(
    c: Checker, deadline: t.Deadline | None, place: Place, where: str
) -> tuple[float | None, tuple[str, str] | None]:
    """A deadline in seconds, and what happens when it is missed."""
    if deadline is None:
        return None, None
    limit = k.duration(c, deadline.limit, place, "a deadline", positive=True)
    word = deadline.policy.name
    text = "" if deadline.text is None else deadline.text.value
    allowed = POLICIES if where == "classify" else ("keep", "drop")
    if deadline.is_model:
        if where != "classify":
            c.report(
                UnknownPolicy.at(
                    deadline.span,
                    "`else with` a model, where no model is asked",
                    fix="write `else keep`, or `else drop`",
                )
            )
        return None if limit is None else float(limit), ("with", word)
    if word not in allowed:
        c.report(
            UnknownPolicy.at(
                deadline.policy.span,
                f"unknown policy `{word}` for a missed deadline",
                fix=did_you_mean(word, allowed),
            )
        )
    elif word == "label" and deadline.text is None:
        c.report(
            WrongArguments.at(
                deadline.policy.span,
                "`else label` lacks its text",
                fix='write `else label "unknown"`',
            )
        )
    return None if limit is None else float(limit), (word, text)
