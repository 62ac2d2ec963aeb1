"""Draw what `ecg.flow` found: six seconds of the lead, its beats, and the rate of the heart, as an SVG.

Run:  flowedge run pipelines/ecg.flow && python pipelines/draw_beats.py docs/beats.svg
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

import flowedge
from flowedge.runtime.run import Run

BEATS = Path("out/beats.arrow")
SECONDS = 6.0
WIDTH, LEAD_PX, RATE_PX, LEFT = 860.0, 150.0, 90.0, 46.0
LEAD = """
source ecg (lead: f64 [mV]) at 360 Hz from wfdb("simulate", names=["lead"])
sink ecg to arrow("{path}")
"""


def lead(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seconds and millivolts of the simulated lead, written by a pipeline of its own."""
    path = folder / "lead.arrow"
    Run(flowedge.compile(text=LEAD.format(path=path)))()
    with pa.memory_map(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
    found = seconds(table), table["lead"].to_numpy()
    path.unlink()
    return found


def seconds(table: pa.Table) -> np.ndarray:
    """Event times as seconds since 1970."""
    return table["time"].cast(pa.int64()).to_numpy() * 1e-9


def line(x: np.ndarray, y: np.ndarray, colour: str) -> str:
    """A polyline through points in pixels."""
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.3"/>'


def word(x: float, y: float, text: str, anchor: str = "start") -> str:
    """A small label."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def picture(t: np.ndarray, v: np.ndarray, beats: np.ndarray, per_minute: np.ndarray) -> str:
    """Above the lead with its beats for six seconds, below the rate over the whole record."""
    shown = t < SECONDS
    low, high = float(v[shown].min()), float(v[shown].max())

    def place(time: np.ndarray, length_s: float) -> np.ndarray:
        return LEFT + time / length_s * (WIDTH - LEFT - 10)

    def height(value: np.ndarray) -> np.ndarray:
        return 34 + (high - value) / (high - low) * LEAD_PX

    parts = [
        word(LEFT, 16, "lead [mV], and the beats that were found (6 of 300 s, simulated)"),
        word(LEFT - 6, float(height(np.array(high))) + 4, f"{high:.1f}", "end"),
        word(LEFT - 6, float(height(np.array(low))) + 4, f"{low:.1f}", "end"),
        line(place(t[shown], SECONDS), height(v[shown]), "#27547d"),
    ]
    for beat in beats[beats < SECONDS]:
        x = float(place(np.array(beat), SECONDS))
        parts.append(f'<path d="M{x:.1f},28 v{LEAD_PX + 12:.0f}" stroke="#c8402f" stroke-width="1.2" stroke-dasharray="3 3"/>')  # fmt: skip
    top = 34 + LEAD_PX + 44
    known = ~np.isnan(per_minute)
    slow, fast = float(per_minute[known].min()), float(per_minute[known].max())
    parts += [
        word(LEFT, top - 12, "rate of the heart [1/min], all 300 s"),
        word(LEFT - 6, top + 4, f"{fast:.0f}", "end"),
        word(LEFT - 6, top + RATE_PX + 4, f"{slow:.0f}", "end"),
        line(place(beats[known], float(t[-1])), top + (fast - per_minute[known]) / (fast - slow) * RATE_PX, "#c8402f"),
    ]  # fmt: skip
    total = top + RATE_PX + 14
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {total:.0f}" font-family="sans-serif" font-size="12" fill="#333">',
            '<rect width="100%" height="100%" fill="white"/>',
            *parts,
            "</svg>\n",
        ]
    )


def main() -> None:
    """Read the beats, make the lead again, and draw both."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/beats.svg")
    with pa.memory_map(str(BEATS)) as file:
        beats = pa.ipc.open_file(file).read_all()
    t, v = lead(BEATS.parent)
    rate = 60 * beats["rate"].to_numpy()
    target.write_text(picture(t, v, seconds(beats), rate), encoding="utf-8")
    print(f"drawn: {target}")


if __name__ == "__main__":
    main()
