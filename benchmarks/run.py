"""Run the benchmarks one after the other; write `RESULTS.md`, its pictures in `docs/`, and the table in the README.

Run:  python benchmarks/run.py [--only "TiLT's queries" …]
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import allocations
import asof
import compress_series
import durability
import ecg_chain
import fleet
import nexmark
import plots
import roofline
import start
import streams_elsewhere
import tilt
import two_cores
import yahoo
from common import machine, summary

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
MODELS = "\n# Models\n"
"""What stands from here on in the results is of the benchmarks of models, which are run one by one."""
HEAD = """# Results

Made by `python benchmarks/run.py`; ratios are to the C program, or the loop, of the same table, by CPU time, round by round. Each section names the machine that it was
measured on: ratios differ from one to the other, and more so where a core is shared."""
BEGIN, END = "<!-- written by benchmarks/run.py -->\n", "<!-- until here -->"


WORKS: dict[str, Callable[[], list[str]]] = {
    "Samples in memory, small pushes": ecg_chain.main,
    "Samples in memory, large pushes": lambda: ecg_chain.main(65_536),
    "Samples of eight signals": ecg_chain.eight,
    "Samples from file to file": ecg_chain.files,
    "From file to file": fleet.main,
    "Streams that meet": asof.main,
    "Start and memory": start.main,
    "Memory asked for by a push": allocations.main,
    "Being able to go on": durability.main,
    "TiLT's queries": tilt.main,
    "Views of advertisements, in memory": lambda: yahoo.main("memory"),
    "Views of advertisements, from file to file": lambda: yahoo.main("files"),
    **{f"Auctions, {q.what}": partial(nexmark.main, n) for n, q in nexmark.QUERIES.items()},
    "Series made smaller": compress_series.main,
    "Close to the machine": roofline.main,
    "A second core": two_cores.main,
    "Other stream processors": streams_elsewhere.main,
}
"""By the title of their section."""


def sections(text: str) -> dict[str, str]:
    """What stands in `RESULTS.md`, by title, without the models."""
    found = (part.partition("\n") for part in text.partition(MODELS)[0].split("\n## ")[1:])
    return {title: body.strip("\n") for title, _, body in found}


def written(known: dict[str, str]) -> str:
    """The text of the results, in the order of the works."""
    parts = [HEAD, *(f"## {title}\n\n{known[title]}" for title in WORKS if title in known)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Ratios within one run; these machines are shared, so absolute figures swing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="*", metavar="TITLE", help="sections to measure; the others stay"
    )
    given, _ = parser.parse_known_args()
    path = HERE / "RESULTS.md"
    text = path.read_text(encoding="utf-8")
    known = sections(text)
    for title in WORKS if given.only is None else given.only:
        known[title] = "\n".join([*WORKS[title](), "", f"On {machine()}"])
        results = written(known)  # each as soon as it is there
        path.write_text(results + "".join(text.partition(MODELS)[1:]), encoding="utf-8")
    head, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    table = "\n".join(["", *summary(written(known)), "", ""])
    README.write_text(head + BEGIN + table + END + tail, encoding="utf-8")
    plots.main()


if __name__ == "__main__":
    main()
