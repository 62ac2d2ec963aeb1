"""`flowedge fmt` has one layout for one pipeline, keeps its comments and its meaning."""

import pytest

from flowedge.lang.diagnostics import FlowError
from flowedge.lang.format import format as layout
from flowedge.lang.parse import parse, tokens


def test_formatting_keeps_the_meaning_and_is_done_once(everything):
    once = layout(everything)
    assert parse(once) == parse(everything)
    assert layout(once) == once


def test_the_pipeline_with_everything_is_written_in_the_canonical_layout(everything):
    assert layout(everything) == everything


def test_the_layout_follows_from_the_tokens_alone(everything):
    bare = "\n".join(x for x in everything.splitlines() if not x.startswith("#"))
    apart = "\n\n\n".join(x.text for x in tokens(bare))
    together = " ".join(x.text for x in tokens(bare))
    long = [x for x in layout(apart).splitlines() if x]
    assert long == [x for x in layout(together).splitlines() if x]
    assert long == [x for x in layout(bare).splitlines() if x]


def test_pipelines_that_people_wrote_keep_meaning_and_comments(written):
    for name, text in written.items():
        once = layout(text)
        assert parse(once) == parse(text), name
        assert layout(once) == once, name
        assert once.count("#") == text.count("#"), name


CASES = {
    "spaces": (
        "sink s|where v>-3 and a-1<b*-c^2|derive q=f(a,b=4)[0]+mean( x )over 5s,r=[1 ,2]to c( )",
        (
            "sink s\n"
            "    | where v > -3 and a - 1 < b * -c ^ 2\n"
            "    | derive q = f(a, b=4)[0] + mean(x) over 5 s, r = [1, 2]\n"
            "    to c()\n"
        ),
    ),
    "short sinks stay on a line": ("sink s\n|where v>3\nto c()", "sink s | where v > 3 to c()\n"),
    "streams with stages do not": ("stream a=s|where v>3", "stream a = s\n    | where v > 3\n"),
    "sources with clauses do not": (
        'source s(time,v:f32<3,2>[mV]=x)at 5 Hz from csv("a")late 2s per   key',
        'source s (time, v: f32<3, 2> [mV] = x) at 5 Hz\n    from csv("a")\n    late 2 s per key\n',
    ),
    "self-describing sources keep their connector": (
        'source s from csv("a") time t key k',
        'source s from csv("a")\n    time t\n    key k\n',
    ),
    "rules": (
        'sink s|classify rules{"a" when n=="x" and v>3 for 5s,otherwise "b",}to c',
        (
            "sink s\n    | classify rules {\n"
            '        "a" when n == "x" and v > 3 for 5 s\n        otherwise "b"\n      }\n    to c\n'
        ),
    ),
    "models": (
        'model m=torch("a")output softmax["x"]input(v)',
        'model m = torch("a")\n    output softmax ["x"]\n    input (v)\n',
    ),
    "comments": (
        "#!head\n\n\n\n# of a\nparam a=1#one\n# under\n\n   # b\nstream b=s|# c\nwhere v>3#d\n  # | where w\n\n# end",
        "#!head\n\n# of a\nparam a = 1  #one\n\n# under\n\n# b\nstream b = s\n    |  # c\n        where v > 3  #d\n    # | where w\n\n# end\n",
    ),
    "line ends": ("param a = 1\r\nparam b = 2\r\n", "param a = 1\nparam b = 2\n"),
    "byte order mark": ("\ufeffparam a = 1", "param a = 1\n"),
    "nothing": (" \n\n", ""),
    "only a comment": ("\n\n# a  \n\n", "# a\n"),
    "a test": (
        'test "t"{given a="a.csv"expect b.late="b.csv"within 1e-6}',
        'test "t" {\n    given a = "a.csv"\n    expect b.late = "b.csv" within 1e-6\n}\n',
    ),
    "a def": (
        "def f(a,b=3)=where a>b|derive c=1\nfn g( x )=-x",
        "def f(a, b = 3) = where a > b | derive c = 1\nfn g(x) = -x\n",
    ),
    "brackets": ("param a=-(5)*(-(2)^-( 3 ))", "param a = -(5) * (-(2) ^ -(3))\n"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_layout_is_as_shown(name):
    text, wanted = CASES[name]
    assert layout(text) == wanted
    assert layout(wanted) == wanted


def test_a_long_line_breaks_behind_its_outermost_commas():
    columns = ", ".join(f"column_{i}: f32<3> [m/s^2]" for i in range(8))
    out = layout(f'source s (time, {columns}) from csv("a")')
    assert max(map(len, out.splitlines())) <= 100
    assert all(x.endswith(",") for x in out.splitlines()[:-2])
    long = layout("stream a = s | where " + " and ".join(f"column_{i} > 3" for i in range(12)))
    assert max(map(len, long.splitlines())) <= 100


def test_what_does_not_parse_is_not_formatted():
    with pytest.raises(FlowError):
        layout("sink s | | to c()")
