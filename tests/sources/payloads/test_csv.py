"""CSV payloads: lines in the order of the fields, or under names."""

import pyarrow as pa
import pytest

from flowedge.sources.payloads import MOST_VALUES, decode

SCHEMA = pa.schema(
    [("t", pa.timestamp("ns")), ("v", pa.float32()), ("n", pa.uint8()), ("s", pa.string()), ("b", pa.bool_()), ("x", pa.list_(pa.float64(), 2))]
)  # fmt: skip


def rows(text, schema=SCHEMA):
    batch, bad = decode(text if isinstance(text, bytes) else text.encode(), schema, "csv")
    batch.validate(full=True)
    if "t" in schema.names:
        batch = batch.set_column(0, "t", batch.column("t").cast(pa.int64()))
    return batch.to_pylist(), [one.reason for one in bad]


ROW = {"t": 10**9, "v": 1.5, "n": 255, "s": "a,b", "b": True, "x": [1.0, None]}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", ""])
def test_cells_stand_in_the_order_of_the_fields(end):
    assert rows('1970-01-01T00:00:01Z,1.5,255,"a,b",true,1,' + end) == ([ROW], [])


def test_a_first_line_may_name_them():
    text = '\ufeffx_1,x_0,other,b,s,n,v,t\n,1,zz,true,"a,b",255,1.5,1970-01-01 00:00:01\n\n'
    assert rows(text) == ([ROW], [])
    assert rows("v\n1\n2\n")[0] == [
        {**dict.fromkeys(SCHEMA.names), "x": [None, None], "v": v} for v in (1.0, 2.0)
    ]


def test_texts_keep_their_line_ends_and_signs():
    text = pa.schema([("s", pa.string()), ("n", pa.int8())])
    assert rows('"a\nb",1\n"c ""d""",2\né\u2028f,3', text)[0] == [
        {"s": "a\nb", "n": 1}, {"s": 'c "d"', "n": 2}, {"s": "é\u2028f", "n": 3}
    ]  # fmt: skip


def test_bad_lines_are_turned_away_in_their_order():
    schema = pa.schema([("v", pa.float32()), ("n", pa.uint8())])
    good, bad = rows("1,1\n2\n3,300\nx,4\n5,5\n1e39,6\n7,1.5\n8,8\n9,9,9", schema)
    assert good == [{"v": 1.0, "n": 1}, {"v": 5.0, "n": 5}, {"v": 8.0, "n": 8}]
    assert bad == [
        "it has 1 cells, where 2 are named", "`n` is not a whole number that fits into uint8", "`v` is not a number", "`v` is not a number",
        "`n` is not a whole number that fits into uint8", "it has 3 cells, where 2 are named",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\xff,1", "a text is not UTF-8"),
        ('"a', "it is no CSV: unexpected end of data"),
        ('"a"b,1', "it is no CSV"),
        ("," * (MOST_VALUES + 1), f"more than {MOST_VALUES} values"),
        ("v,v\n1,2", "the name `v` is there twice"),
        ("t,v\n" + "x,1\n1970-01-01,y\n" * 200, "more than 256 of its cells do not fit"),
        ("x" * 200_000, "a cell is longer than 131,072 characters"),
    ],
)
def test_what_is_no_csv_is_turned_away(text, words):
    good, bad = rows(text)
    assert good == []
    assert words in bad[0]
