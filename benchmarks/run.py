"""Run the benchmarks one after the other; write `RESULTS.md`, its pictures in `docs/`, and the table in the README.

Run:  python benchmarks/run.py
"""

from functools import partial
from pathlib import Path

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
import yahoo
from common import machine, summary

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
MODELS = "\n# Models\n"
"""What stands from here on in the results is of the benchmarks of models, which are run one by one."""
BEGIN, END = "<!-- written by benchmarks/run.py -->\n", "<!-- until here -->"


def main() -> None:
    """Ratios within one run; these machines are shared, so absolute figures swing."""
    parts = [
        "# Results",
        "",
        "Made by `python benchmarks/run.py`; ratios are to the C program, or the loop, of the same table, by CPU time, round by round.",
        "",
        machine(),
    ]
    for title, run in (
        ("Samples in memory, small pushes", ecg_chain.main),
        ("Samples in memory, large pushes", lambda: ecg_chain.main(65_536)),
        ("From file to file", fleet.main),
        ("Streams that meet", asof.main),
        ("Start and memory", start.main),
        ("Being able to go on", durability.main),
        ("TiLT's queries", tilt.main),
        ("Views of advertisements, in memory", lambda: yahoo.main("memory")),
        ("Views of advertisements, from file to file", lambda: yahoo.main("files")),
        *((f"Auctions, {q.what}", partial(nexmark.main, n)) for n, q in nexmark.QUERIES.items()),
        ("Series made smaller", compress_series.main),
        ("Close to the machine", roofline.main),
        ("Other stream processors", streams_elsewhere.main),
    ):
        parts += ["", f"## {title}", "", *run()]
    results = "\n".join(parts) + "\n"
    path = HERE / "RESULTS.md"
    kept = path.read_text(encoding="utf-8").partition(MODELS)
    path.write_text(results + "".join(kept[1:]), encoding="utf-8")
    head, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    table = "\n".join(["", *summary(results), "", ""])
    README.write_text(head + BEGIN + table + END + tail, encoding="utf-8")
    plots.main()


if __name__ == "__main__":
    main()
