"""Diagnostics are drawn with columns that are right, and said as plain data."""

import json

from flowedge.lang.diagnostics import Diagnostic, Label, did_you_mean, nearest
from flowedge.lang.render import render
from flowedge.lang.span import Span


def mark(text, word, label="", *, primary=True, file="a.flow"):
    start = text.index(word)
    return Label(Span(start, start + len(word), file, text), label, primary)


def drawn(*labels, **more):
    return render(Diagnostic("FE403", "it does not fit", labels, **more))


def test_the_example_of_the_guide():
    text = (
        "\nsource ecg (time, mlii: f32 [mV]) at 100 Hz\n    from arrow()\n\nstream a = ecg\n"
        "    | filter bandpass(5 Hz .. 60 Hz, order=4) on mlii\n"
    )
    d = Diagnostic(
        "FE403",
        "cut-off 60 Hz reaches the Nyquist frequency 50 Hz",
        (
            mark(text, "60 Hz", "must stay below 50 Hz"),
            mark(text, "100 Hz", "`ecg` is sampled at 100 Hz", primary=False),
        ),
        why="a sampled signal shows a tone above half its rate as one below it (aliasing)",
        fix="lower the cut-off, for example to 40 Hz, or sample faster",
    )
    assert render(d) == (
        "error[FE403]: cut-off 60 Hz reaches the Nyquist frequency 50 Hz\n"
        "  ┌─ a.flow:6:31\n"
        "  │\n"
        "2 │ source ecg (time, mlii: f32 [mV]) at 100 Hz\n"
        "  │                                      ------ `ecg` is sampled at 100 Hz\n"
        "  ⋮\n"
        "6 │     | filter bandpass(5 Hz .. 60 Hz, order=4) on mlii\n"
        "  │                               ^^^^^ must stay below 50 Hz\n"
        "  │\n"
        "  = why: a sampled signal shows a tone above half its rate as one below it (aliasing)\n"
        "  = fix: lower the cut-off, for example to 40 Hz, or sample faster\n"
    )


def columns(text, word):
    """Where the word is drawn, and where its mark is, both in columns of a terminal."""
    lines = drawn(mark(text, word)).splitlines()
    return lines[3], lines[4]


def test_marks_stand_right_under_tabs_wide_and_combining_characters():
    line, marks = columns("\t| where 温度 > bad", "bad")
    assert line == "1 │     | where 温度 > bad"
    assert marks == "  │ " + " " * (len("    | where ") + 4 + len(" > ")) + "^^^"
    line, marks = columns("cafe\u0301 > bad", "bad")
    assert marks == "  │ " + " " * len("cafe > ") + "^^^"
    line, marks = columns("x > 温度", "温度")
    assert marks == "  │     ^^^^"
    line, marks = columns("\ufeffsink bad", "bad")
    assert (line, marks) == ("1 │ sink bad", "  │      ^^^")


def test_what_a_terminal_would_obey_is_not_drawn():
    for char in "\x1b\x07\u202e\u2028\ud800":
        out = drawn(mark(f"a{char}b", "b"))
        assert char not in out
        assert "a�b" in out


def test_several_marks_on_a_line_and_lines_next_to_each_other():
    text = "one two\nthree\n"
    assert drawn(
        mark(text, "two", "here"),
        mark(text, "one", "there", primary=False),
        mark(text, "three", primary=False),
    ) == (
        "error[FE403]: it does not fit\n  ┌─ a.flow:1:5\n  │\n1 │ one two\n  │     ^^^ here\n  │ --- there\n"
        "2 │ three\n  │ -----\n  │\n"
    )


def test_a_mark_over_several_lines_is_drawn_on_its_first():
    text = "f(a,\n  b)"
    assert "  │ ^^^^ all of it\n" in drawn(Label(Span(0, len(text), "a.flow", text), "all of it"))


def test_several_files_and_lines_of_many_digits():
    other = "\n" * 99 + "def x"
    out = drawn(
        mark("sink bad", "bad"), mark(other, "x", "declared here", primary=False, file="b.flow")
    )
    assert out == (
        "error[FE403]: it does not fit\n    ┌─ a.flow:1:6\n    │\n  1 │ sink bad\n    │      ^^^\n"
        "    ├─ b.flow:100:5\n    │\n100 │ def x\n    │     - declared here\n    │\n"
    )


def test_a_diagnostic_without_a_place_is_its_message():
    assert drawn(fix="do").startswith("error[FE403]: it does not fit\n")


def test_a_place_at_the_end_of_the_text_is_one_mark():
    assert "  │      ^\n" in drawn(Label(Span(5, 5, "a.flow", "sink ")))


def test_colour_is_the_callers():
    d = Diagnostic("FE403", "m", (mark("bad", "bad", "why"),), fix="f")
    out = render(d, lambda kind, text: f"<{kind}>{text}</>")
    assert "<error>error[FE403]</>: m" in out
    assert "<primary>^^^ why</>" in out
    assert "<note>=</> fix: f" in out


def test_a_diagnostic_is_plain_data():
    d = Diagnostic(
        "FE403", "m", (mark("ok\nbad", "bad", "here"),), why="w", fix="f", severity="warning"
    )
    assert json.loads(json.dumps(d.as_json())) == {
        "code": "FE403", "severity": "warning", "message": "m", "why": "w", "fix": "f", "edit": None,
        "labels": [{"file": "a.flow", "line": 2, "column": 1, "start": 3, "end": 6, "text": "here", "primary": True}],
    }  # fmt: skip


def test_the_nearest_name():
    assert nearest("sped", ["speed", "time"]) == "speed"
    assert nearest("zzz", ["speed", "time"]) is None
    assert did_you_mean("Sped", ["speed"]) == "did you mean `speed`?"
    assert did_you_mean("zzz", ["b", "a"]) == "known: `a`, `b`"
