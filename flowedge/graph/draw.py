"""A pipeline as a picture: Graphviz, Mermaid, or SVG with a layout of our own."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from flowedge.graph import nodes as g
from flowedge.graph.explain import shape

COLOURS = {
    "source": "#dbeafe",
    "stage": "#f1f5f9",
    "meet": "#fef3c7",
    "model": "#ede9fe",
    "sink": "#dcfce7",
}
BORDERS = {
    "source": "#3b82f6",
    "stage": "#94a3b8",
    "meet": "#d97706",
    "model": "#7c3aed",
    "sink": "#16a34a",
}


@dataclass(frozen=True, slots=True)
class Box:
    """One node of the picture."""

    id: int
    title: str
    lines: tuple[str, ...]
    kind: str


def boxes(graph: g.Graph) -> list[Box]:
    """What is drawn for each node."""
    out = []
    for node in graph.nodes:
        kind = "stage"
        title, lines = node.label or type(node).__name__, [shape(node.out).replace("   ", " ")]
        if isinstance(node, g.Source):
            kind, title, lines = (
                "source",
                node.name,
                [node.label.removeprefix("source ") + " " + _short(node.address), *lines],
            )
        elif isinstance(node, g.Sink):
            kind, title, lines = "sink", node.name, [node.connector + " " + _short(node.address)]
        elif isinstance(node, g.Classify):
            kind = "model"
        elif len(node.inputs) > 1:
            kind = "meet"
        if kind not in ("source", "sink") and (
            not node.inputs or graph.node(node.inputs[0]).name != node.name
        ):
            lines = [f"stream {node.name}", *lines]
        out.append(Box(node.id, _short(title), tuple(lines), kind))
    return out


def _short(text: str, most: int = 34) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def edges(graph: g.Graph) -> list[tuple[int, int]]:
    """From node to node, in order."""
    return [(i, n.id) for n in graph.nodes for i in n.inputs]


def dot(graph: g.Graph) -> str:
    """Graphviz text."""
    lines = [
        "digraph flow {",
        "  rankdir=LR;",
        '  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=11];',
    ]
    for box in boxes(graph):
        text = "\\n".join(
            t.replace("\\", "\\\\").replace('"', '\\"') for t in (box.title, *box.lines)
        )
        lines.append(
            f'  n{box.id} [label="{text}", fillcolor="{COLOURS[box.kind]}", color="{BORDERS[box.kind]}"];'
        )
    lines += [f"  n{a} -> n{b};" for a, b in edges(graph)]
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(graph: g.Graph) -> str:
    """Mermaid text, for Markdown."""
    lines = ["flowchart LR"]
    for box in boxes(graph):
        text = "<br/>".join(escape(t).replace("&quot;", "#quot;") for t in (box.title, *box.lines))
        lines.append(f'  n{box.id}["{text}"]:::{box.kind}')
    lines += [f"  n{a} --> n{b}" for a, b in edges(graph)]
    lines += [
        f"  classDef {k} fill:{COLOURS[k]},stroke:{BORDERS[k]},color:#0f172a" for k in COLOURS
    ]
    return "\n".join(lines) + "\n"


WIDTH, LINE, PAD, GAP_X, GAP_Y = 236, 16, 10, 56, 22


def svg(graph: g.Graph) -> str:
    """An SVG picture, layers from left to right.

    Layers are longest paths from the sources; inside a layer nodes stand by the mean place of their
    neighbours (Sugiyama, Tagawa, Toda, IEEE Trans. SMC 11(2), 1981, the barycentre method).
    """
    found = {b.id: b for b in boxes(graph)}
    layers = _ordered(_layers(graph), edges(graph))
    place: dict[int, tuple[float, float]] = {}
    heights = {i: 2 * PAD + LINE * (1 + len(b.lines)) for i, b in found.items()}
    totals = [sum(heights[i] for i in layer) + GAP_Y * max(0, len(layer) - 1) for layer in layers]
    tall = max(totals, default=0)
    for k, layer in enumerate(layers):
        y = PAD + (tall - totals[k]) / 2
        for i in layer:
            place[i] = (PAD + k * (WIDTH + GAP_X), y)
            y += heights[i] + GAP_Y
    width, height = 2 * PAD + max(1, len(layers)) * (WIDTH + GAP_X) - GAP_X, 2 * PAD + tall
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    font = 'font-family="Helvetica, Arial, sans-serif" font-size="12"'
    tip = 'id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>',
        f'<defs><marker {tip}><path d="M0,0 L8,4 L0,8 z" fill="#64748b"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for a, b in edges(graph):
        x1, y1 = place[a][0] + WIDTH, place[a][1] + heights[a] / 2
        x2, y2 = place[b][0], place[b][1] + heights[b] / 2
        bend = max(GAP_X / 2, (x2 - x1) / 2)
        out.append(f'<path d="M{x1:g},{y1:g} C{x1 + bend:g},{y1:g} {x2 - bend:g},{y2:g} {x2:g},{y2:g}" fill="none" stroke="#64748b" '
                   'stroke-width="1.3" marker-end="url(#tip)"/>')  # fmt: skip
    for i, box in found.items():
        x, y = place[i]
        out.append(
            f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{heights[i]}" rx="6" fill="{COLOURS[box.kind]}" stroke="{BORDERS[box.kind]}"/>'
        )
        out.append(
            f'<text x="{x + PAD:g}" y="{y + PAD + 11:g}" font-weight="bold" fill="#0f172a">{escape(box.title)}</text>'
        )
        for n, line in enumerate(box.lines, start=1):
            out.append(
                f'<text x="{x + PAD:g}" y="{y + PAD + 11 + n * LINE:g}" fill="#475569">{escape(_short(line, 38))}</text>'
            )
    return "\n".join([*out, "</svg>"]) + "\n"


def _layers(graph: g.Graph) -> list[list[int]]:
    depth: dict[int, int] = {}
    for node in graph.nodes:
        depth[node.id] = max((depth[i] + 1 for i in node.inputs), default=0)
    # A source that is needed late stands near what takes it.
    for node in reversed(graph.nodes):
        readers = [depth[r.id] for r in graph.readers(node.id)]
        if not node.inputs and readers:
            depth[node.id] = min(readers) - 1
    out: list[list[int]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in graph.nodes:
        out[depth[node.id]].append(node.id)
    return out


def _ordered(layers: list[list[int]], links: list[tuple[int, int]]) -> list[list[int]]:
    """Nodes of each layer by the mean place of their neighbours, forth and back."""
    into: dict[int, list[int]] = {}
    outof: dict[int, list[int]] = {}
    for a, b in links:
        into.setdefault(b, []).append(a)
        outof.setdefault(a, []).append(b)
    for turn in range(6):
        near = into if turn % 2 == 0 else outof
        place = {
            i: k / max(1, len(layer) - 1) if len(layer) > 1 else 0.5
            for layer in layers
            for k, i in enumerate(layer)
        }

        def mean(
            i: int, near: dict[int, list[int]] = near, place: dict[int, float] = place
        ) -> float:
            others = near.get(i)
            return sum(place[o] for o in others) / len(others) if others else place[i]

        layers = [sorted(layer, key=mean) for layer in layers]
    return layers


FORMATS: dict[str, Callable[[g.Graph], str]] = {"dot": dot, "mermaid": mermaid, "svg": svg}


def draw(graph: g.Graph, kind: str) -> str:
    """The picture as text; `kind` is a key of `FORMATS`."""
    return FORMATS[kind](graph)
