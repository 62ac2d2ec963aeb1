"""The tables of the parser are made once and kept: a parser out of the cache is the parser out of the grammar."""

from pathlib import Path

import pytest

from flowedge.lang import grammar
from flowedge.lang.diagnostics import FlowError
from flowedge.lang.parse import parse

PIPELINES = sorted((Path(__file__).parents[2] / "pipelines").glob("*.flow"))
WRONG = ["sink s | where v >", "source from csv(\"a\")", "stream = s", "sink s to console to", "param p == 3", "@", "sink s | window 1 s every"]  # fmt: skip


def told(text):
    try:
        return repr(parse(text))
    except FlowError as error:
        return repr(error.diagnostics)


def test_a_parser_out_of_the_cache_is_the_one_out_of_the_grammar(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWEDGE_CACHE", str(tmp_path / "kept"))
    texts = [p.read_text("utf-8") for p in PIPELINES] + WRONG
    grammar.parser.cache_clear()
    try:
        made = grammar.parser()
        assert len(list((tmp_path / "kept" / "grammar").iterdir())) == 1
        said = [told(text) for text in texts]
        grammar.parser.cache_clear()
        assert grammar.parser() is not made
        assert [told(text) for text in texts] == said
    finally:
        grammar.parser.cache_clear()


@pytest.mark.parametrize("harm", [b"", b"rubbish"])
def test_damaged_tables_are_made_again(tmp_path, monkeypatch, harm):
    monkeypatch.setenv("FLOWEDGE_CACHE", str(tmp_path / "kept"))
    grammar.parser.cache_clear()
    try:
        grammar.parser()
        (kept,) = (tmp_path / "kept" / "grammar").iterdir()
        kept.write_bytes(harm)
        grammar.parser.cache_clear()
        assert parse("sink s to console").statements
        assert kept.stat().st_size > 1000
    finally:
        grammar.parser.cache_clear()
