"""The payloads of `docs/payloads.md` are read as the page says."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest

from flowedge.sources.payloads import Decoder, format_of

PAGE = (Path(__file__).parents[2] / "docs" / "payloads.md").read_text("utf-8")
BLOCK = re.compile(
    r"^```payload (\w+)\n(.*?)^```((?:\n```(?:rows|refused)\n.*?^```)+)", re.MULTILINE | re.DOTALL
)
SAID = re.compile(r"^```(rows|refused)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FIELDS = pa.schema(
    [
        ("time", pa.timestamp("ns", "UTC")), ("temperature", pa.float32()), ("count", pa.uint8()), ("name", pa.string()), ("on", pa.bool_()),
        ("acceleration", pa.list_(pa.float32(), 3)),
    ]
)  # fmt: skip


def examples():
    for found in BLOCK.finditer(PAGE):
        name, text, said = found.groups()
        if name in ("msgpack", "cbor"):
            data = bytes.fromhex(re.sub(r"#.*", "", text))
        else:
            data = text.removesuffix("\n").encode()
        yield name, data, {k: v.splitlines() for k, v in SAID.findall(said)}


def rounded(value):
    """Numbers of 32 bits as the page writes them."""
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


@pytest.mark.parametrize(("name", "data", "said"), list(examples()))
@pytest.mark.parametrize("copies", [1, 20])
def test_an_example_is_read_as_the_page_says(name, data, said, copies):
    assert format_of(data) == name
    decoder = Decoder(FIELDS)
    decoder.add_many([data] * copies)
    batch = decoder.take()
    batch = batch.set_column(0, "time", batch["time"].cast(pa.int64()))
    rows = [{k: rounded(v) for k, v in row.items() if v is not None} for row in batch.to_pylist()]
    assert rows == [json.loads(line) for line in said.get("rows", ())] * copies
    assert [r.reason for r in decoder.rejected] == said.get("refused", []) * copies


def test_the_page_has_examples_of_most_formats():
    assert {name for name, _, _ in examples()} == {"json", "msgpack", "cbor", "csv"}
    assert PAGE.count("```payload") == len(list(examples()))
