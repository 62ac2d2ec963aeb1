"""The diagnostics of syntax, ``FE1xx``: each class is a code and its manual page."""

from flowedge.lang.diagnostics import Rule


class UnexpectedText(Rule):
    """The text does not go on in any way that the language knows.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | where v > 3 tomorrow console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | where v > 3 to console
    """

    code = "FE100"


class AssignmentInCondition(Rule):
    """A single ``=`` gives a value a name; two values are compared with ``==``.

    Wrong::

        source s (time, v: i64) from arrow("in.arrow")
        sink s | where v = 3 to console

    Right::

        source s (time, v: i64) from arrow("in.arrow")
        sink s | where v == 3 to console
    """

    code = "FE101"


class ForeignOperator(Rule):
    """``&&``, ``||``, ``!``, ``**`` are signs of other languages: here they are ``and``, ``or``, ``not``, ``^``.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | where v > 3 && v < 5 to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | where v > 3 and v < 5 to console
    """

    code = "FE102"


class SingleQuotes(Rule):
    """Text stands in straight double quotes.

    Wrong::

        source s (time, n: string) from arrow("in.arrow")
        sink s | where n == 'a' to console

    Right::

        source s (time, n: string) from arrow("in.arrow")
        sink s | where n == "a" to console
    """

    code = "FE103"


class ChainedComparison(Rule):
    """A comparison has two sides; a range needs two comparisons.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | where 1 < v < 5 to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | where 1 < v and v < 5 to console
    """

    code = "FE104"


class OverAfterExpression(Rule):
    """``over`` belongs to one aggregate call: ``mean(x) over 5 s``.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | derive q = v over 5 s to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | derive q = mean(v) over 5 s to console
    """

    code = "FE105"


class ReservedWord(Rule):
    """The words that begin statements, and ``and or not true false nan inf``, are names in backticks only.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        stream sink = s
        sink s to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        stream drain = s
        sink drain to console
    """

    code = "FE106"


class UnclosedString(Rule):
    """A text ends on the line that it began on, and so does a name in backticks.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow)
        sink s to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to console
    """

    code = "FE107"


class UnclosedBracket(Rule):
    """A bracket that was opened is closed in its statement, by its own kind.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow"
        sink s to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to console
    """

    code = "FE108"


class BadNumber(Rule):
    """A number has digits on both sides of its point, at most 400 characters, and no endless power of ten.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | where v > .5 to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | where v > 0.5 to console
    """

    code = "FE109"


class TooDeep(Rule):
    """Brackets nest at most 200 deep, and so do expressions, where chains of signs and operators count.

    Give the inner parts names, with ``derive`` or ``fn``.
    """

    code = "FE110"


class NotText(Rule):
    """A pipeline is UTF-8 text of at most 4 MiB, without NUL bytes."""

    code = "FE111"


class UnknownVersion(Rule):
    """``flow 1`` is the only version of the language so far.

    Wrong::

        flow 2
        source s (time, v: f64) from arrow("in.arrow")
        sink s to console

    Right::

        flow 1
        source s (time, v: f64) from arrow("in.arrow")
        sink s to console
    """

    code = "FE112"


class ForeignComment(Rule):
    """A comment begins with ``#`` and ends with its line; ``//``, ``/* … */`` and ``--`` begin none.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")  // the thermometer
        sink s to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")  # the thermometer
        sink s to console
    """

    code = "FE113"
