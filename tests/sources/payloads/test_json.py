"""JSON payloads: what RFC 8259 allows comes out, and each other thing has its own sentence."""

import json
import struct

import pyarrow as pa
import pytest

from flowedge.sources.payloads import DEEPEST, MOST_VALUES, decode

NS = pa.timestamp("ns")
SCHEMA = pa.schema(
    [("t", NS), ("v", pa.float32()), ("n", pa.uint8()), ("s", pa.string()), ("b", pa.bool_()), ("x", pa.list_(pa.float64(), 2))]
)  # fmt: skip
NUMBER = pa.schema([("v", pa.float64())])


def rows(text, schema=SCHEMA, kind="auto"):
    data = text if isinstance(text, bytes) else text.encode()
    batch, bad = decode(data, schema, kind)
    batch.validate(full=True)
    if "t" in schema.names:
        batch = batch.set_column(0, "t", batch.column("t").cast(pa.int64()))
    return batch.to_pylist(), [one.reason for one in bad]


def test_a_map_is_a_row():
    text = ' \ufeff{"t": 5, "v": 1, "n": 255, "s": "\\u00e9\\n", "b": true, "x": [1, null], "more": {"a": []}}\r\n'
    assert rows(text.lstrip()) == (
        [{"t": 5, "v": 1.0, "n": 255, "s": "é\n", "b": True, "x": [1.0, None]}],
        [],
    )
    assert rows("{}") == ([dict.fromkeys(SCHEMA.names)], [])
    assert rows('{"t": "1970-01-01T00:00:01.5Z"}')[0][0]["t"] == 1_500_000_000


def test_a_list_of_maps_is_rows_and_a_map_of_lists_is_columns():
    assert rows('[{"v": 1}, 5, {"v": 2}]', NUMBER) == ([{"v": 1.0}, {"v": 2.0}], ["not a map"])
    assert rows('{"v": [1, null, 2.5]}', NUMBER) == ([{"v": 1.0}, {"v": None}, {"v": 2.5}], [])
    assert rows('{"v": []}', NUMBER) == ([], [])
    text = '{"t": [1, "1970-01-01"], "v": [1.5, 2], "n": [1, 2], "s": ["a", null], "b": [true, false], "x": [[1, 2], [3, 4]]}'
    assert [list(r.values()) for r in rows(text)[0]] == [
        [1, 1.5, 1, "a", True, [1.0, 2.0]],
        [0, 2.0, 2, None, False, [3.0, 4.0]],
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"n": 300}', "`n` is not a whole number that fits into uint8"),
        ('{"n": -1}', "`n` is not a whole number that fits into uint8"),
        ('{"n": 1.0}', "`n` is not a whole number that fits into uint8"),
        ('{"v": 1e39}', "`v` is not a number that fits into 32 bits"),
        ('{"v": 1e400}', "the number 1e400 does not fit into 64 bits"),
        ('{"v": 1' + "0" * 400 + "}", "`v` is not a number that fits into 64 bits"),
        ('{"v": 0.' + "0" * 2000 + "}", "a number has more than 1000 characters"),
        ('{"v": ' + "1" * 2000 + "}", "a number has more than 1000 characters"),
        ('{"v": "1"}', "`v` is not a number"),
        ('{"v": true}', "`v` is not a number"),
        ('{"s": 1}', "`s` is not text"),
        ('{"s": "\\ud800"}', "`s` is not text of whole characters"),
        ('{"t": "\\ud800"}', "`t` is not a time"),
        ('{"t": 1.5}', "`t` is not a time"),
        ('{"t": ""}', "`t` is not a time"),
        ('{"x": [1]}', "`x` is not a list of 2, each a number"),
        ('{"x": [1, "2"]}', "`x` is not a list of 2, each a number"),
        ('{"v": 1, "v": 2}', "the key `v` is there twice"),
        ('{"q": {"a": 1, "a": 2}}', "the key `a` is there twice"),
        ('{"v": NaN}', "`NaN` is no value of JSON"),
        ('{"v": -Infinity}', "`-Infinity` is no value of JSON"),
        ('{"v": 01}', "it is no JSON at character 8: expecting ',' delimiter"),
        ('{"v": 1,}', "it is no JSON"),
        ("{'v': 1}", "it is no JSON"),
        ('{"s": "a\tb"}', "it is no JSON at character 9: invalid control character at"),
        ('{"v": 1} {"v": 2}', "it is no JSON at character 10: extra data"),
        ('{"v": 1', "it is no JSON"),
        (b'{"s": "\xff"}', "a text is not UTF-8"),
        (b'{"s": "\xed\xa0\x80"}', "a text is not UTF-8"),
        ("[" * 100_000, f"nested more than {DEEPEST} deep"),
        ('{"a":' * 9 + "1" + "}" * 9, f"nested more than {DEEPEST} deep"),
        ("[" + "0," * MOST_VALUES + "0]", f"more than {MOST_VALUES} values"),
        ('{"v": [1, 2], "n": [1]}', "columns of unequal length: `v` 2, `n` 1"),
        ('{"v": [1, "2"]}', "column `v`: value 2 is not a number"),
        ('{"v": [1], "n": 3}', "column `n`: neither bytes nor a list"),
        ("[1]", "not a map"),
    ],
)  # fmt: skip
def test_what_does_not_fit_has_its_own_sentence(text, words):
    good, bad = rows(text)
    assert good == []
    assert words in bad[0]


@pytest.mark.parametrize("text", ["5", '"a"', "null", ""])
def test_a_value_that_is_no_map_is_turned_away(text):
    good, bad = rows(text, NUMBER, "json")
    assert good == []
    assert bad[0] in ("it is no map", "it is empty")


def test_brackets_inside_of_texts_do_not_count():
    assert rows('{"s": "' + "[{" * 50 + '\\"["}')[0][0]["s"] == "[{" * 50 + '"['


def test_a_name_with_dots_leads_into_maps():
    schema = pa.schema([("a.b", pa.float64()), ("c", pa.float64())])
    assert rows('{"a": {"b": 1}, "c": 2}', schema)[0] == [{"a.b": 1.0, "c": 2.0}]
    assert rows('{"a.b": 3, "a": {"b": 1}}', schema)[0] == [{"a.b": 3.0, "c": None}]
    assert rows('{"a": 5}', schema)[0] == [{"a.b": None, "c": None}]


def test_rows_that_would_take_far_more_than_their_payload_are_refused():
    wide = pa.schema([(f"c{k}", pa.float64()) for k in range(100)])
    _, bad = decode(json.dumps([{}] * 100_000).encode(), wide)
    assert bad[0].reason == "its 100000 rows would take 76 MiB"
    import msgpack  # noqa: PLC0415

    packed = msgpack.packb({"c0": struct.pack("<d", 1) * 500_000})
    assert decode(packed, wide)[1][0].reason == "its 500000 rows would take 381 MiB"
