"""Deadlines: how long a result may take, and what happens when it takes longer."""

from flowedge.graph import constants as k
from flowedge.graph.calls.arguments import WrongArguments
from flowedge.graph.checker import Checker
from flowedge.graph.names import UnknownName
from flowedge.graph.place import Place
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean


class UnknownPolicy(Rule):
    """What happens at a missed deadline is one of a few words.

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
    if deadline.is_model:
        c.not_yet(
            deadline.span,
            "`else with` another model",
            'write `else drop`, or `else label "unknown"`',
        )
        if c.lookup(place.scope.module, word, st.Model) is None:
            c.report(
                UnknownName.at(
                    deadline.policy.span,
                    f"unknown model `{word}`",
                    fix=did_you_mean(word, place.scope.module.of(st.Model)),
                )
            )
        return None if limit is None else float(limit), ("with", word)
    allowed = POLICIES if where == "classify" else ("keep", "drop")
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
