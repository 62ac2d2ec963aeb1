"""The manual: every operator has a page with an example, and the document is up to date."""

from pathlib import Path

import pytest

from flowedge.operators import discover
from flowedge.operators.contract import Context, Extent, Refused
from flowedge.operators.manual import kind_of, markdown, page, signature, table
from flowedge.types.schema import F64, TEXT, TIME
from flowedge.types.units import parse

ALL = {f"{kind_of(cls)} {name}": cls for (_, name), cls in discover().items()}
WITHOUT_EXAMPLE = {"classify with", "threshold adaptive"}
"""A model needs a file; a threshold stands inside `detect peaks`, whose example shows it."""


def test_the_document_is_up_to_date():
    written = Path(__file__).parents[2] / "docs" / "operators.md"
    assert written.read_text("utf-8") == markdown(), (
        "python -m flowedge.operators.manual > docs/operators.md"
    )


@pytest.mark.parametrize("name", ALL)
def test_a_page_says_what_one_asks(name):
    cls = ALL[name]
    kind, _, word = name.partition(" ")
    text = page(kind, word)
    assert signature(cls) in text
    if kind != "threshold":
        assert "Stream\n------" in text
    if name not in WITHOUT_EXAMPLE:
        assert ">>> flow(" in text
    for parameter in cls.parameters:
        assert f"{parameter.name} : " in text, f"`{parameter.name}` is not explained"


def test_the_table_names_each_operator_once():
    rows = table()
    assert len(rows) == len(discover())
    assert ("filter", "ema") in {(kind, name) for kind, name, _ in rows}
    assert all(line.endswith(".") for _, _, line in rows)


def test_an_unknown_name_is_an_error():
    with pytest.raises(KeyError):
        page(None, "nonesuch")


CELSIUS, VOLT = parse("degC"), parse("V")
POINT = type(F64)("f64", CELSIUS)
VOLTS = type(F64)("f64", VOLT)
SIGNAL = Context(rate_hz=100.0)


@pytest.mark.parametrize(
    ("kind", "name", "given", "types", "context", "code"),
    [
        ("function", "lag", {"n": 0}, (F64,), SIGNAL, "FE408"),
        ("function", "lag", {"n": -1}, (F64,), SIGNAL, "FE408"),
        ("function", "sqrt", {}, (POINT,), SIGNAL, "FE307"),
        ("function", "hypot", {}, (POINT, POINT), SIGNAL, "FE307"),
        ("function", "clock", {}, (F64,), SIGNAL, "FE302"),
        ("function", "edge", {}, (F64,), SIGNAL, "FE302"),
        ("function", "lowpass", {"cut": 50.0}, (F64,), SIGNAL, "FE403"),
        ("function", "lowpass", {"cut": 5.0}, (F64,), Context(None), "FE402"),
        ("function", "savgol", {"length": Extent(samples=4)}, (F64,), SIGNAL, "FE501"),
        ("function", "kalman", {"process": 0.0, "noise": 1.0}, (F64,), SIGNAL, "FE408"),
        ("aggregate", "sum", {}, (POINT,), SIGNAL, "FE307"),
        ("aggregate", "std", {"ddof": 2}, (F64,), SIGNAL, "FE408"),
        ("aggregate", "mode", {}, (TIME,), SIGNAL, "FE302"),
        ("aggregate", "distinct", {}, (TIME,), SIGNAL, "FE302"),
        ("aggregate", "psd", {}, (F64,), SIGNAL, "FE501"),
        ("aggregate", "band", {"band": (5.0, 60.0)}, (F64,), SIGNAL, "FE403"),
        ("aggregate", "band", {"band": (9.0, 5.0)}, (F64,), SIGNAL, "FE407"),
        ("aggregate", "mel", {"bands": 0, "band": (0.0, 50.0)}, (F64,), SIGNAL, "FE408"),
        ("aggregate", "centroid", {}, (F64,), Context(None), "FE402"),
    ],
)
def test_what_does_not_fit_is_refused(kind, name, given, types, context, code):
    with pytest.raises(Refused) as refused:
        discover()[kind, name](**given).out(types, context)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("kind", "name", "given", "types", "unit"),
    [
        ("function", "diff", {}, (POINT,), "K"),
        ("function", "rate", {}, (VOLTS,), "V/s"),
        ("function", "sqrt", {}, (VOLTS,), "V^0.5"),
        ("function", "ema", {"tau": 1.0}, (POINT,), "degC"),
        ("aggregate", "mean", {}, (POINT,), "degC"),
        ("aggregate", "std", {}, (POINT,), "K"),
        ("aggregate", "var", {}, (VOLTS,), "V^2"),
        ("aggregate", "energy", {}, (VOLTS,), "V^2"),
        ("aggregate", "slope", {}, (POINT,), "K/s"),
        ("aggregate", "band", {"band": (1.0, 2.0)}, (VOLTS,), "V^2"),
        ("aggregate", "peak_frequency", {}, (VOLTS,), "Hz"),
        ("aggregate", "max", {}, (POINT,), "degC"),
        ("aggregate", "range", {}, (POINT,), "K"),
    ],
)
def test_units_follow(kind, name, given, types, unit):
    assert str(discover()[kind, name](**given).out(types, SIGNAL).unit) == unit


def test_texts_go_through_what_takes_any_type():
    for kind, name in (
        ("function", "lag"),
        ("aggregate", "first"),
        ("aggregate", "mode"),
        ("aggregate", "last"),
    ):
        assert discover()[kind, name]().out((TEXT,), SIGNAL).store == "string"
    assert discover()["function", "coalesce"]().out((TEXT, TEXT), SIGNAL).store == "string"
