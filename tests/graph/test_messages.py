"""Every diagnostic: its manual page does what it says, and its text is as approved.

The approved texts stand in `tests/cases/diagnostics.md`; `FLOWEDGE_APPROVE=1` writes them anew.
"""

import inspect
import os
import re
import textwrap
from pathlib import Path

import pytest
from world import codes, problems

import flowedge.graph.passes  # noqa: F401  # loads every rule of the room
from flowedge.lang.diagnostics import Rule
from flowedge.lang.render import render_all

PAGE = Path(__file__).parent.parent / "cases" / "diagnostics.md"
WITHOUT = {"FE110", "FE111", "FE206", "FE511"}
"""Depth, bytes and the command line: what no short pipeline can show."""
OURS = sorted(
    code for code, rule in Rule.known.items() if rule.__module__.startswith("flowedge.graph")
)


def example(code, kind):
    """The ``Wrong::`` or ``Right::`` pipeline of a rule."""
    doc = inspect.cleandoc(Rule.known[code].__doc__)
    parts = re.split(r"^(Wrong|Right)::\n", doc, flags=re.MULTILINE)
    return textwrap.dedent(parts[parts.index(kind) + 1]).strip() + "\n"


@pytest.mark.parametrize("code", sorted(set(Rule.known) - WITHOUT))
def test_the_wrong_pipeline_of_a_page_gives_just_its_code(code):
    assert codes(example(code, "Wrong")) == [code]


@pytest.mark.parametrize("code", sorted(set(Rule.known) - WITHOUT))
def test_the_right_pipeline_of_a_page_gives_nothing(code):
    assert problems(example(code, "Right")) == []


def page():
    """All messages, as they are drawn."""
    out = [
        "# Diagnostics as they are printed",
        "",
        "The `Wrong::` pipeline of each manual page, and what `flowedge check` says of it.",
        "",
    ]
    for code in OURS:
        if code in WITHOUT:
            continue
        text = example(code, "Wrong")
        out += [
            f"## {code}",
            "",
            "```flow",
            text.rstrip("\n"),
            "```",
            "",
            "```text",
            render_all(problems(text)).rstrip("\n"),
            "```",
            "",
        ]
    return "\n".join(out)


def test_messages_read_as_approved():
    if os.environ.get("FLOWEDGE_APPROVE"):
        PAGE.write_text(page(), encoding="utf-8")
    approved = PAGE.read_text(encoding="utf-8")
    for section in page().split("\n## "):
        assert section.rstrip("\n") in approved


@pytest.mark.parametrize("code", OURS)
def test_messages_keep_the_house_style(code):
    if code in WITHOUT:
        return
    (found,) = problems(example(code, "Wrong"))
    assert not found.message.endswith(".")
    assert found.message[0] in '`"' or not found.message[0].isupper()
    assert found.fix, "advice belongs to every message"
    assert "illegal" not in found.message + found.why
