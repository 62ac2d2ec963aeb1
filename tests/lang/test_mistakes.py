"""Every mistake of syntax has its code, its place and its cure."""

import re
from pathlib import Path

import pytest

import flowedge.lang.rules as syntax
from flowedge.lang.diagnostics import FlowError, page, rules
from flowedge.lang.parse import parse
from flowedge.lang.render import render_all

PAGE = Path(__file__).parent.parent / "cases" / "diagnostics" / "syntax.md"
CASE = re.compile(
    r"^(\S[^\n]*)\n\n```flow\n(.*?)\n```\n```text\n(.*?)```\n", re.MULTILINE | re.DOTALL
)
CASES = CASE.findall(PAGE.read_text(encoding="utf-8"))
RULES = [
    r for r in vars(syntax).values() if isinstance(r, type) and r.__module__ == syntax.__name__
]
WITHOUT_EXAMPLE = {"FE110", "FE111"}  # a page cannot show 200 brackets, nor bytes that are no text


def mistakes(text):
    with pytest.raises(FlowError) as caught:
        parse(text, "case.flow")
    return caught.value.diagnostics


@pytest.mark.parametrize(("title", "text", "shown"), CASES, ids=[c[0] for c in CASES])
def test_the_text_is_as_printed(title, text, shown):
    assert render_all(mistakes(text)) == shown


def test_every_code_of_syntax_is_printed_somewhere():
    printed = set(re.findall(r"error\[(FE\d+)\]", PAGE.read_text(encoding="utf-8")))
    assert {r.code for r in RULES} - printed == WITHOUT_EXAMPLE


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.code)
def test_the_manual_page_says_what_is_true(rule):
    text = page(rule.code)
    wrong, right = (
        re.search(rf"{w}::\n\n((?:    .*\n?|\n)+)", text + "\n") for w in ("Wrong", "Right")
    )
    if rule.code in WITHOUT_EXAMPLE:
        assert wrong is None
        return
    assert [d.code for d in mistakes(re.sub("(?m)^    ", "", wrong.group(1)))] == [rule.code]
    parse(re.sub("(?m)^    ", "", right.group(1)))


def test_codes_are_of_syntax_and_in_the_registry():
    assert all(re.fullmatch("FE1[0-9][0-9]", r.code) for r in RULES)
    assert all(rules()[r.code] is r for r in RULES)


@pytest.mark.parametrize(("_", "text", "shown"), CASES, ids=[c[0] for c in CASES])
def test_an_edit_heals_its_mistake(_, text, shown):
    before = mistakes(text)
    for one in before:
        if one.edit is None:
            continue
        span = one.edit.span
        healed = text[: span.start] + one.edit.text + text[span.end :]
        try:
            parse(healed)
            after = ()
        except FlowError as error:
            after = error.diagnostics
        places = {(d.code, d.labels[0].span.start) for d in after}
        assert (one.code, one.labels[0].span.start) not in places, healed


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("sink s | where a === b to c()", "FE102"), ("sink s | where a => b to c()", "FE102"),
        ("sink s | where a & b to c()", "FE102"), ("sink s || where a to c()", "FE102"),
        ("sink s | where n == 'a to c()", "FE103"), ("sink s | where a == b == c to c()", "FE104"),
        ("sink s | where f(a < b < c) to c()", "FE104"), ("sink s | derive q = (mean(x) + 1) over 5 s to c()", "FE105"),
        ("sink s | where or > 5 to c()", "FE106"), ("source inf from c()", "FE106"),
        ("sink s | where `` > 3 to c()", "FE107"), ("import \"a", "FE107"), ("}", "FE108"), ("sink s to c())", "FE108"),
        ("def f(a, = where a", "FE100"), ("sink s | where a // b to c()", "FE113"),
        ("sink s to c()\nflow 1", "FE100"), ("sink s | where a < b and b < c < d to c()", "FE104"),
        ("sink s \x07 to c()", "FE100"), ("sink s | derive q = 1 .. 2 to c()", "FE100"),
    ],
)  # fmt: skip
def test_a_mistake_has_its_code(text, code):
    assert [d.code for d in mistakes(text)] == [code]


def test_two_comparisons_joined_by_and_are_no_chain():
    parse("sink s | where a < b and b < c or f(a < b) < c to d()")


def test_messages_are_lower_case_without_a_full_stop():
    for _, text, _ in CASES:
        for d in mistakes(text):
            assert not d.message.endswith(".")
            assert not d.message[0].isupper()
