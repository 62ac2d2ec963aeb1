"""What `explain` says and what is drawn."""

import re
from xml.etree import ElementTree as ET

from world import graph_of

from flowedge.graph.draw import dot, mermaid, svg
from flowedge.graph.explain import explain
from flowedge.graph.passes import optimise

TEXT = """
source ecg (time, mlii: f32 [mV], v5: f32 [mV]) at 360 Hz from arrow("in.arrow") late 100 ms gaps hold up to 50 ms
stream energy = ecg | derive power = mean(mlii ^ 2) over 150 ms
sink energy | window 2 s | aggregate max(power) as most deadline 5 s else drop to arrow("out.arrow")
"""


def test_explain_tells_shape_columns_delay_wait_and_floor():
    assert explain(optimise(graph_of(TEXT))) == (
        "source ecg\n"
        "    source arrow\n"
        "        signal   at 360 Hz\n"
        "        columns  mlii: f32 [mV]\n"
        "        wait     100 ms\n"
        "        reads    arrow in.arrow: mlii, time\n"
        "        parts    one: its files one after the other, by their paths\n"
        "        gaps     hold up to 50 ms\n"
        "\n"
        "stream energy\n"
        "    derive power  from ecg\n"
        "        signal   at 360 Hz\n"
        "        columns  power: f64 [mV^2]\n"
        "        delay    power 75 ms\n"
        "        wait     100 ms\n"
        "    window 2 s\n"
        "        rows   at up to 0.5 Hz   each for (start, time]\n"
        "        columns  start: time, most: f64 [mV^2]\n"
        "        wait     100 ms\n"
        "\n"
        "sink energy_arrow  from energy\n"
        "    writes   arrow out.arrow\n"
        "    columns  time, start: time, most: f64 [mV^2]\n"
        "    deadline 2.1 s or more can be promised\n"
        "    asked    5 s, else drop\n"
        "    durable  synced at every checkpoint, and before a file is shown\n"
        "\n"
        "guarantees with `run --checkpoint DIR`; without, a killed run begins again\n"
        "    from  to            killed        power lost\n"
        "    ecg   energy_arrow  exactly once  exactly once\n"
    )


def test_what_is_promised_depends_on_the_sink():
    text = SOURCES + (
        'sink a to arrow("a.arrow") durability interval 5 s\n'
        'sink b to csv("b.csv") durability os\n'
        "sink a | where v > 0 to console as shown\n"
    )
    told = explain(graph_of(text))
    table = told[told.index("guarantees") :].splitlines()[1:]
    assert [line.split(maxsplit=2) for line in table[1:4]] == [
        ["a", "a", "exactly once   may lose rows of 5 s and one checkpoint before"],
        ["a", "shown", "at least once  at least once"],
        ["b", "b", "exactly once   may lose what the system has not written yet, often 30 s"],
    ]
    assert "durable  synced at the first checkpoint after each 5 s" in told
    assert "durable  never synced" in told


def test_what_is_promised_depends_on_the_peer_and_on_who_can_be_asked_again():
    text = SOURCES + (
        'source f (time, v: f64) from feed("x")\n'
        'sink a to table("db") buffer 1 [GB] on disk\n'
        'sink a to queue("q") durability os as often\n'
        'sink b to queue("q", qos=0)\n'
        'sink f to table("db")\n'
    )
    told = explain(graph_of(text))
    table = told[told.index("guarantees") :].splitlines()
    cells = [re.split(" {2,}", line.strip()) for line in table[2:6]]
    none = "no promise: sent once, and what is sent as the connection breaks is lost"
    gone = "at most once: what came since the last checkpoint is not asked for again"
    lost = "may lose what the system has not written yet, often 30 s"
    assert cells == [
        ["a", "a", "exactly once", "exactly once"],
        ["a", "often", "at least once", lost],
        ["b", "b", none, none],
        ["f", "f", gone, gone],
    ]
    assert "a killed run that begins again adds its rows again" in table[6]
    assert "waits    up to 1 GB of rows on the disk while it is away" in told
    assert "waits    as many rows as there is room for" in told


SOURCES = (
    'source a (time, v: f64) from arrow("in.arrow")\n'
    'source b (time, v: f64) from arrow("other.arrow")\n'
)


def test_the_compiler_adds_its_lines():
    assert "kernel 7" in explain(graph_of(TEXT), more=lambda node: ["kernel 7"])


def test_a_pipeline_without_a_sink_does_nothing():
    assert explain(graph_of("")) == "nothing runs: there is no sink\n"


def test_drawings_name_every_node():
    graph = graph_of(TEXT)
    assert dot(graph).count("->") == mermaid(graph).count("-->") == 3
    root = ET.fromstring(svg(graph))
    texts = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"ecg", "derive power", "window 2 s", "energy_arrow"} <= set(texts)
