"""Any text gives a tree or diagnostics, and never anything else."""

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowedge.lang.diagnostics import FlowError
from flowedge.lang.format import format as layout
from flowedge.lang.grammar import RESERVED, soft_words
from flowedge.lang.parse import decode, parse, tokens
from flowedge.lang.render import render_all

WORDS = [
    *sorted(RESERVED | soft_words()), "v", "a1", "`x y`", "5", "0.5", "1e3", "0xF", '"t"', "[mV]", "ms", "f32",
    *"()[]{}<>=+-*/%^|,.:#'\"`!&;\\\t\n@", "==", "!=", "<=", "..", "&&", "||", "**", "//", "\n", "\n", "é", "温", "\r\n",
]  # fmt: skip
word_salad = st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)
glued_salad = st.lists(st.sampled_from(WORDS), max_size=20).map("".join)


def comments(text):
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", " ")
    edges = [0, *(x for token in tokens(text) for x in (token.start, token.end)), len(text)]
    gaps = [text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return sorted(c.strip() for gap in gaps for c in re.findall("#[^\n]*", gap))


def attempt(text):
    try:
        return parse(text, "fuzz.flow"), ()
    except FlowError as error:
        return None, error.diagnostics


def tree_or_diagnostics(text):
    flow, diagnostics = attempt(text)
    if flow is None:
        assert diagnostics
        places = [d.place for d in diagnostics]
        assert places == sorted(places)
        assert len(places) == len(set(places))
        for d in diagnostics:
            span = d.labels[0].span
            assert 0 <= span.start <= span.end <= len(text)
        render_all(diagnostics)
        return
    out = layout(text)
    assert comments(out) == comments(text)
    assert parse(out) == flow
    assert layout(out) == out


@settings(max_examples=300)
@given(st.one_of(st.text(), word_salad, glued_salad))
@example("sink s | where a < b < c to c()")
@example("\ud800")
@example("sink s to c()\n\x0b\x0c\x85\u2028sink")
def test_any_text(text):
    tree_or_diagnostics(text)


@settings(max_examples=200)
@given(data=st.data())
def test_a_pipeline_with_a_piece_replaced(data, everything):
    begin = data.draw(st.integers(0, len(everything)))
    text = everything[begin : begin + 600]
    at = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 12))
    tree_or_diagnostics(
        text[:at] + data.draw(st.one_of(st.sampled_from(WORDS), word_salad)) + text[at + length :]
    )


@given(st.binary())
def test_any_bytes(data):
    try:
        text = decode(data)
    except FlowError as error:
        codes = [d.code for d in error.diagnostics]
        render_all(error.diagnostics)
    else:
        codes = ["FE111"]
        tree_or_diagnostics(text)
    assert codes == ["FE111"]
