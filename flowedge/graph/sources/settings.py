"""What a source says of lateness, gaps, errors and memory."""

from fractions import Fraction

from flowedge.graph import constants as k
from flowedge.graph.checker import Checker
from flowedge.graph.names import Scope, UnknownName
from flowedge.graph.sources.draft import Draft
from flowedge.graph.strings import resolve
from flowedge.lang import statements as st
from flowedge.lang.diagnostics import Rule, did_you_mean


class OnlyForSignals(Rule):
    """`gaps` and `jitter` speak of missing and shifted samples, so they need a rate.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow") gaps hold
        sink s to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow") gaps hold
        sink s to console
    """

    code = "FE416"


class UnknownWord(Rule):
    """A clause knows a few words only.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow") gaps fill
        sink s to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow") gaps hold
        sink s to console
    """

    code = "FE217"


GAPS = ("reset", "hold", "linear", "nan")
DUPLICATES = ("keep", "first", "last")
ON_ERROR = ("stop", "skip", "quarantine")


def settings(
    c: Checker,
    clauses: dict[str, st.Clause],
    scope: Scope,
    d: Draft,
    is_signal: bool,
    live: bool,
    tree: st.Source,
) -> None:
    """All that is said about lateness, gaps, errors and memory."""
    place = k.place_of(scope)
    rest = d.rest
    rest["duplicates"] = "first" if is_signal else "keep"
    if live:
        rest["ahead_s"] = 60.0

    def seconds(word: str, name: str, what: str, *, positive: bool = True) -> None:
        if word in clauses:
            found = k.duration(c, clauses[word].exprs[0], place, what, positive=positive)
            if found is None:
                d.broken.add("time")
            else:
                rest[name] = float(found)

    def word_of(word: str, name: str, known: tuple[str, ...]) -> None:
        if word in clauses:
            ident = clauses[word].names[0]
            if ident.name not in known:
                c.report(
                    UnknownWord.at(
                        ident.span,
                        f"unknown word `{ident}` behind `{word.replace('_', ' ')}`",
                        fix=did_you_mean(ident.name, known),
                    )
                )
            else:
                rest[name] = ident.name

    seconds("late", "late_s", "a lateness", positive=False)
    if "late" in clauses:
        rest["late_per_key"] = clauses["late"].flag
        if clauses["late"].flag and not d.keys:
            c.report(
                UnknownName.at(
                    clauses["late"].span,
                    "`per key` on a source without keys",
                    fix="declare a key, or leave `per key` away",
                )
            )
    seconds("ahead", "ahead_s", "how far ahead a row may be")
    seconds("on_silence", "silence_s", "a silence")
    seconds("idle", "idle_s", "how long a source may be idle")
    seconds("expire", "expire_s", "how long a key lives")
    word_of("duplicates", "duplicates", DUPLICATES)
    word_of("gaps", "gaps", GAPS)
    word_of("on_error", "on_error", ON_ERROR)
    for word in ("gaps", "jitter"):
        if (
            word in clauses
            and not is_signal
            and (tree.rate is not None or tree.columns is not None)
        ):
            c.report(OnlyForSignals.at(clauses[word].span, f"`{word}` on a source without a rate", why="only a rate says when the next sample is due",
                                       fix="add `at RATE` to the source"))  # fmt: skip
    if "gaps" in clauses and clauses["gaps"].exprs:
        found = k.duration(
            c, clauses["gaps"].exprs[0], place, "the longest gap to fill", positive=True
        )
        rest["gaps_up_to_s"] = None if found is None else float(found)
    if "jitter" in clauses:
        part = k.number(c, clauses["jitter"].exprs[0], place, "a jitter")
        if part is not None and not 0 <= part <= Fraction(1, 2):
            c.report(
                k.ValueOutOfRange.at(
                    clauses["jitter"].exprs[0].span,
                    f"a jitter of {float(part) * 100:g} percent",
                    fix="give 0 to 50 percent of the sample period",
                )
            )
        elif part is not None:
            rest["jitter"] = float(part)
    if "order_time" in clauses:
        rest["sort_first"] = True
        if live:
            c.report(
                k.ValueOutOfRange.at(
                    clauses["order_time"].span,
                    "`order time` on a live source",
                    why="it never ends, so it cannot be sorted",
                    fix="say `late D` instead",
                )
            )
    if "max_keys" in clauses:
        rest["max_keys"] = clauses["max_keys"].number
    if "on_error" in clauses and rest.get("on_error") == "quarantine":
        if not clauses["on_error"].texts:
            c.report(
                UnknownWord.at(
                    clauses["on_error"].span,
                    "`quarantine` lacks the file that bad rows go to",
                    fix='write `on error quarantine "bad.arrow"`',
                )
            )
        else:
            rest["quarantine"] = resolve(c, clauses["on_error"].texts[0], scope)
