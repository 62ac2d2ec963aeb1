"""Text becomes the tree that it means, and nothing else."""

import re
from fractions import Fraction

import pytest

from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import FlowError
from flowedge.lang.grammar import RESERVED, soft_words
from flowedge.lang.parse import DEEPEST, LONGEST, decode, parse, tokens


def expr(text):
    sink = parse(f"sink s | derive q = {text} to c()").statements[0]
    return sink.pipeline.stages[0].bindings[0].expr


def stage(text):
    return parse(f"stream a = s | {text}").statements[0].pipeline.stages[0]


def refused(text):
    with pytest.raises(FlowError) as caught:
        parse(text)
    return caught.value.diagnostics


# ---- expressions

PRECEDENCE = {
    "-a ^ 2": "-(a ^ 2)", "2 ^ -b ^ c": "2 ^ (-(b ^ c))", "a ^ b ^ c": "a ^ (b ^ c)", "a - b - c": "(a - b) - c",
    "a / b * c": "(a / b) * c", "a + b * c": "a + (b * c)", "a % b * c": "(a % b) * c", "not a == b": "not (a == b)",
    "not a and b or c": "((not a) and b) or c", "a or b and c": "a or (b and c)", "a + 1 > b * 2": "(a + 1) > (b * 2)",
    "-mean(x) over 1 s ^ 2": "-((mean(x) over 1 s) ^ 2)", "1 - mean(x) over 1 s": "1 - (mean(x) over 1 s)",
    "5 m / s": "(5 m) / s", "5ms": "5 ms", "a-1": "a - 1", "x*-1": "x * (-1)", "a - -b": "a - (-b)",
    "-a[0] ^ 2": "-((a[0]) ^ 2)", "not a in [1]": "not (a in [1])", "-a * b": "(-a) * b",
}  # fmt: skip


@pytest.mark.parametrize(("text", "meant"), PRECEDENCE.items())
def test_precedence_is_as_stated(text, meant):
    assert expr(text) == expr(meant)


DIFFERENT = [
    ("-3", "3"), ("not v > 3", "v > 3"), ("-a ^ 2", "(-a) ^ 2"), ("a - 1", "a + 1"), ("a / b", "a * b"),
    ("true", "false"), ("a ^ b ^ c", "(a ^ b) ^ c"), ("-2 ^ 2", "(-2) ^ 2"), ("f(a)", "f(a=a)"), ("a[0]", "a[1]"),
    ("f", "f()"), ("5 m", "5 [m]"), ("1", "1.0"), ("-5 degC", "-(5 degC)"), ("a < b", "a <= b"), ("a == 1", "a != 1"),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_what_differs_in_meaning_differs_in_the_tree(a, b):
    assert expr(a) != expr(b)


def test_a_number_is_exact_and_keeps_its_unit_as_written():
    assert expr("0.1") == t.Number(value=Fraction(1, 10), is_integer=False)
    assert expr("2_500") == t.Number(value=Fraction(2500), is_integer=True)
    assert expr("0xFF").value == 255
    assert expr("2.5e+3") == t.Number(value=Fraction(2500), is_integer=False)
    assert expr("9.81 [m/s^2]") == t.Number(
        value=Fraction(981, 100), is_integer=False, unit="m/s^2", is_bracketed=True
    )
    assert expr("150 ms").unit == "ms"
    assert expr("5 °C").unit == "°C"
    assert expr("150 ms").unit_span.source == "ms"


def test_a_sign_belongs_to_the_number_after_it():
    assert expr("-5 degC").value == -5
    assert expr("- # why\n 5").value == -5
    assert expr("--5").value == 5
    assert expr("-(5 degC)") == t.Negate(value=expr("5 degC"))
    assert expr("-( # (\n5)") == t.Negate(value=expr("5"))


def test_a_text_has_its_escapes_resolved_and_its_braces_kept():
    assert expr(r'"a\"b\\c\n\td {x} {{y}}"').value == 'a"b\\c\n\td {x} {{y}}'
    assert expr('"# no comment | , )"').value == "# no comment | , )"
    assert expr('"温度"').value == "温度"


def test_names_are_nfc_and_may_stand_in_backticks():
    assert expr("e\u0301") == t.Name(name="\xe9")
    assert expr("`Ström (A)`") == t.Name(name="Ström (A)")
    assert expr("तापमान") == t.Name(name="तापमान")
    assert expr("`sink`") == t.Name(name="sink")


def test_arguments_keep_their_keywords_ranges_and_order():
    call = expr("f(a, 1 .. 2, order=4, x=[1, 2],)")
    assert [None if a.keyword is None else a.keyword.name for a in call.arguments] == [
        None,
        None,
        "order",
        "x",
    ]
    assert isinstance(call.arguments[1].value, t.Range)
    assert expr("f(a,)") == expr("f(a)")


def test_a_name_that_is_called_may_have_two_parts():
    assert expr("lib.norm(acc)[0]").value.name.name == "lib.norm"
    assert stage("lib.clean").op.name.name == "lib.clean"
    assert (
        parse("source s from simulate.ecg(seed=1)").statements[0].connector.name.name
        == "simulate.ecg"
    )
    refused("sink s | derive q = lib.norm to c()")


def test_a_rolling_aggregate_takes_a_quantity_a_name_or_brackets():
    assert isinstance(expr("mean(x) over 5 s").extent, t.Number)
    assert isinstance(expr("mean(x) over w").extent, t.Name)
    assert isinstance(expr("mean(x) over (2 * w)").extent, t.Binary)


# ---- statements and stages


def test_every_kind_of_node_stands_in_the_pipeline_with_everything(everything):
    flow = parse(everything)
    seen = set()
    todo = [flow]
    while todo:
        node = todo.pop()
        seen.add(type(node).__name__)
        todo += t.children(node)
    kinds = {
        name
        for name, kind in (*vars(t).items(), *vars(st).items())
        if isinstance(kind, type) and issubclass(kind, t.Tree) and kind is not t.Tree
    }
    assert kinds - seen == set()
    clauses = {
        c.word
        for s in flow.statements
        if isinstance(s, st.Source | st.Model | st.Sink)
        for c in s.clauses
    }
    assert clauses == {
        "time",
        "key",
        "unit",
        "late",
        "ahead",
        "order_time",
        "duplicates",
        "jitter",
        "gaps",
        "on_error",
        "on_silence",
        "valid",
        "idle",
        "expire",
        "max_keys",
        "input",
        "output",
        "output_columns",
        "on",
        "batch",
        "signed",
        "isolated",
        "as",
        "priority",
        "durability",
        "buffer",
    }


def test_every_span_is_the_text_of_its_node(everything):
    flow = parse(everything, "everything.flow")
    todo = [(flow, flow.span)]
    while todo:
        node, around = todo.pop()
        span = node.span
        assert span.file == "everything.flow"
        assert around.start <= span.start <= span.end <= around.end, node
        if isinstance(node, t.Ident):
            assert span.source.strip("`") == node.name
        if isinstance(node, t.Name):
            assert span.source.strip("`") == node.name
        if isinstance(node, t.Number):
            assert parse(f"param p = {span.source}").statements[0].value == node
        todo += [(child, span) for child in t.children(node)]


def test_a_span_knows_its_line_and_column():
    flow = parse("# one\n\nsink s\n    | where v > 3\n    to console")
    span = flow.statements[0].pipeline.stages[0].condition.span
    assert (span.line, span.column, span.source) == (4, 13, "v > 3")


def test_stages_say_what_they_are():
    assert stage("window 128 samples every 64 samples").every.unit == "samples"
    assert stage("split at b.late from -250 ms to 400 ms").begin.value == -250
    assert stage("split at b to next up to 2 s").up_to.unit == "s"
    assert stage("join s latest").within is None
    assert stage("join s within 2 s linear").method.name == "linear"
    assert stage("key none").names[0].name == "none"
    assert stage("split into a when v > 1, b otherwise").branches[1].condition is None
    assert stage('classify rules { "a" when v for 5 s otherwise "b" }').rules[0].hold.unit == "s"
    assert stage("classify with m shadow with n deadline 5 ms else drop").shadow.name == "n"
    assert stage('classify with m deadline 5 ms else label "x"').deadline.text.value == "x"
    assert stage("classify with m deadline 5 ms else with n").deadline.is_model
    assert isinstance(stage("classify anomaly(v)"), t.ClassifyScorer)
    assert isinstance(stage("expand"), t.Apply)
    assert not stage("expand").op.has_brackets
    assert stage("mine()").op.has_brackets


def test_commas_between_rules_and_at_the_end_of_lists_say_nothing():
    assert stage('classify rules { "a" when v, otherwise "b", }') == stage(
        'classify rules { "a" when v otherwise "b" }'
    )


def test_pipelines_that_people_wrote_parse(written):
    for name, text in written.items():
        parse(text, name)


def test_a_file_may_be_empty_or_begin_with_a_byte_order_mark():
    assert parse("").statements == ()
    assert parse("# only this").statements == ()
    assert len(parse("\ufeffsink s to c()\r\nsink t to c()\r\n").statements) == 2


# ---- words


SOFT_PLACES = [
    'source s (time, {w}: f64 [mV]) from csv("x") time {w} key {w}, {w}',
    "sink s | where {w} > 3 and a < {w} to c()",
    "sink s | derive {w} = {w} + 1, q = -{w} to c()",
    "sink s | select {w}, a = {w}, {w} to c()",
    "sink s | aggregate mean({w}) as {w}, count() as n to c()",
    "sink s | filter ema(1 s) on {w}, {w} to c()",
    "sink s | split on {w} to c()",
    "sink s | split while {w} | aggregate count() to c()",
    "stream {w} = s | join {w} latest sink {w} | where a > 1 to c()",
    "sink s.{w} to c()",
    "sink s | split into {w} when a > 1, {w} otherwise to c()",
    "sink s | detect peaks({w}, {w}={w}) to c()",
    'model {w} = torch("a") input ({w}, {w})',
    "sink s | classify with {w} to c()",
    "param {w} = 5 s",
    "def {w}_x({w}) = where {w} > 1",
    "fn {w}({w}) = {w} + 1",
    "sink s | where x in [{w}] to c()",
]


@pytest.mark.parametrize("word", sorted(soft_words()))
def test_a_word_of_the_language_is_a_name_wherever_only_a_name_may_stand(word):
    for place in SOFT_PLACES:
        parse(place.format(w=word))


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_a_reserved_word_is_no_name_except_in_backticks(word):
    assert refused(f"stream {word} = s")[0].code == "FE106"
    assert parse(f"stream `{word}` = s").statements[0].name.name == word


@pytest.mark.parametrize(
    "text",
    [
        "sinks to c()", "streamlabels = s", "parameter = 5", "sink s tomorrow()", "sink s | where v > w android to c()",
        'source e from csv("x") timeout', "sink s | filter ema(1 s) only to c()", "sink s | aggregate count() assum to c()",
        "sink s | window 5 s everyday to c()", "sink s deadline 5 ms elsewhere to c()",
    ],
)  # fmt: skip
def test_words_end_at_a_word_boundary(text):
    assert {d.code for d in refused(text)} == {"FE100"}


def test_no_token_is_lost(everything):
    """Leave out any one token, and the text is refused or means something else."""
    for statement in parse(everything).statements:
        text = statement.span.source
        whole = parse(text)
        for token in tokens(text):
            if token.text == ",":
                continue  # commas between rules and before a closing bracket say nothing
            try:
                less = parse(text[: token.start] + " " + text[token.end :])
            except FlowError:
                continue
            assert less != whole, token


# ---- limits


@pytest.mark.parametrize(
    "text",
    [
        "(" * 201 + "a" + ")" * 201, "-" * 10_000 + "a", "not " * 10_000 + "a", "a" + " ^ a" * 5_000,
        "a" + " + a" * 5_000, "a" + "[0]" * 5_000, "if(" * 201 + "a" + ", b, c)" * 201, "[" * 100_000,
    ],
    ids=lambda text: text[:6],
)  # fmt: skip
def test_what_is_nested_too_deep_is_refused(text):
    (diagnostic,) = refused(f"sink s | derive q = {text} to c()")
    assert diagnostic.code == "FE110"
    assert len(diagnostic.labels[0].span.source) == 1


def test_what_is_nested_deep_is_taken():
    for text in (
        "(" * DEEPEST + "a" + ")" * DEEPEST,
        "-" * 190 + "a",
        "a" + " + a" * 190,
        "f(" * 90 + "a" + ")" * 90,
    ):
        tree = parse(f"param p = {text}")
        assert tree == parse(f"param p = {text}")
        hash(tree)
        repr(tree)


@pytest.mark.parametrize(
    "text", ["1" * 401, "1e999", "1e-99999999", "1e99999999", "1" * 350, "0x" + "f" * 398]
)
def test_numbers_that_nothing_holds_are_refused(text):
    (diagnostic,) = refused(f"param p = {text}")
    assert diagnostic.code == "FE109"


def test_numbers_in_names_texts_and_comments_are_not_looked_at():
    parse(f'param a{"1" * 401} = "{"1" * 401}"  # {"1" * 401} 1e999\nparam `1e999` = 1')


def test_bytes_that_are_no_text_are_refused_with_their_place():
    with pytest.raises(FlowError) as caught:
        decode(b"sink s\nto c(\xff)")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "FE111"
    assert (diagnostic.labels[0].span.line, diagnostic.labels[0].span.column) == (2, 6)
    assert refused("sink s \0 to c()")[0].code == "FE111"


def test_what_is_larger_than_a_pipeline_is_refused_at_once():
    assert refused("#" * (LONGEST + 1))[0].code == "FE111"
    with pytest.raises(FlowError):
        decode(b"#" * (LONGEST + 1))


def test_one_statement_has_one_mistake_and_many_statements_have_many():
    text = "\n".join(["sink s | where v = 3 and w = 4 to c()"] * 7)
    assert [d.labels[0].span.line for d in refused(text)] == [1, 2, 3, 4, 5, 6, 7]


def test_a_file_of_something_else_gives_a_bounded_list():
    assert len(refused("\n".join(["sink s | ; to c()"] * 500))) <= 50


def test_the_grammar_names_no_word_as_an_anonymous_string(everything):
    """lark drops anonymous strings from the tree, which would lose a sign or a `not`."""
    for token in tokens(everything):
        if re.fullmatch(r"\w+", token.text):
            assert not token.type.startswith("__ANON")
