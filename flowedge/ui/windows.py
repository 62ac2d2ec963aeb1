"""What `flowedge windows` says when it is done."""

from flowedge.runtime.report import Report
from flowedge.runtime.windows import Written


def summary(report: Report, made: Written) -> str:
    """How many frames of which shape and label were written, and how many not, with the reason."""
    told = made.about
    shapes = ", ".join(f"{x['name']} {_shape(x['shape'])}" for x in told["inputs"])
    rate = f" at {told['rate']:g} Hz" if told["rate"] else ""
    lines = [f"{_frames(made.frames)} of `{told['stream']}` to {made.path}: {shapes}{rate}"]
    if made.left_out:
        was = "was" if made.left_out == 1 else "were"
        lines.append(
            f"  {_frames(made.left_out)} with missing values {was} left out: a model is not asked about them"
        )
    if told["scaling"]:
        lines.append(f"  normalised as the manifest of `{told['model']}` says")
    if told["label"] is not None:
        lines += _labels(made)
    return "\n".join([*lines, *report.hints])


def _frames(count: int) -> str:
    return f"{count:,} frame{'s' if count != 1 else ''}"


def _shape(lengths: list[int]) -> str:
    return " by ".join(str(n) for n in lengths) or "a number"


def _labels(made: Written) -> list[str]:
    name, counts = made.about["label"], dict(made.counts)
    without = counts.pop(None, 0)
    lines = []
    if counts:
        shown = list(counts.items())[:20]
        more = f" and {len(counts) - 20:,} more" if len(counts) > 20 else ""
        lines.append(f"  {name}: " + ", ".join(f"{label} {n:,}" for label, n in shown) + more)
    if without:
        lines.append(f"  {_frames(without)} without a label")
    unknown = [x for x in counts if made.about["classes"] and str(x) not in made.about["classes"]]
    if unknown:
        told = ", ".join(f"`{x}`" for x in unknown[:8])
        lines.append(f"  `{made.about['model']}` has no class {told}")
    return lines
