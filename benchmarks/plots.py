"""Pictures of `RESULTS.md`: each system beside the program by hand, and each work beside the two ceilings of the machine.

Run:  python benchmarks/plots.py
"""

import re
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
OURS, OTHER = "#0b6e4f", "#9aa5b1"


class Bar(NamedTuple):
    """One system in one work, by its ratio to the program by hand."""

    work: str
    system: str
    ratio: float


class Point(NamedTuple):
    """One work under the roof: operations for each byte, and what was reached and could be [operations/s]."""

    work: str
    intensity: float
    got: float
    ceiling: float


def bars(results: str) -> list[Bar]:
    """Out of the tables with ratios; the program by hand itself is the line at 1."""
    found = []
    for section in results.partition("\n# Models\n")[0].split("\n## ")[1:]:
        rows = re.findall(
            r"^\| ([^|]+) \| [\d.,]+ \| [\d.,]+ \| ([\d.]+) \| [\d.]+ – [\d.]+ \|$",
            section,
            re.MULTILINE,
        )
        if any(name == "C by hand" for name, _ in rows):
            title = section.partition("\n")[0]
            found += [Bar(title, name, float(ratio)) for name, ratio in rows if name != "C by hand"]
    return found


def points(results: str) -> list[Point]:
    """Out of the table of the roofline."""
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+) \| ([\d.]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| \d+% \|", results, re.MULTILINE)  # fmt: skip
    out = []
    for name, nbytes, operations, memory, adds, got in rows:
        a_row = float(operations)
        rates = [1e6 * float(x.replace(",", "")) for x in (memory, adds, got)]
        out.append(Point(name, a_row / float(nbytes), rates[2] * a_row, min(rates[:2]) * a_row))
    return out


def main() -> None:
    """Write both pictures; the text must have been made by `run.py`."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "flowedge", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})  # fmt: skip
    from matplotlib import pyplot as plt

    results = (HERE / "RESULTS.md").read_text(encoding="utf-8")
    found = bars(results)
    figure, axes = plt.subplots(figsize=(7, 0.6 + 0.22 * len(found)), layout="constrained")
    labels = [f"{b.work}: {b.system}" for b in found]
    axes.barh(labels, [b.ratio for b in found], color=[OURS if b.system == "FlowEdge" else OTHER for b in found])  # fmt: skip
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("rows per CPU second, by hand = 1")
    figure.savefig(DOCS / "results.svg", metadata={"Date": None})
    works = points(results)
    if not works:
        return
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for work in works:
        axes.plot([work.intensity] * 2, [work.got, work.ceiling], color=OTHER, linewidth=1)
        axes.plot(work.intensity, work.ceiling, "_", color="black")
        axes.plot(work.intensity, work.got, "o", color=OURS)
        axes.annotate(work.work, (work.intensity, work.got), xytext=(4, -8), textcoords="offset points", fontsize=7)  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations a byte")
    axes.set_ylabel("operations per second; the bar is the machine's ceiling")
    figure.savefig(DOCS / "roofline.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
