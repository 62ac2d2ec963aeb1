"""The ECG chain in GNU Radio: what `streams_elsewhere.py` asks. Run by the system's Python, for which distributions package it.

Samples between its blocks are float32, for which its stream filters are made; each block has a thread. Its running sum depends on
how the scheduler cuts the stream, so that results differ a little from run to run.
"""

import numpy as np
from gnuradio import blocks, filter, gr  # noqa: A004 - so it is called
from serving import ecg_checksum, serve, timed

SLOPE = [45.0, 90.0, 0.0, -90.0, -45.0]
SPAN = 54
LONGEST = 4000
"""Samples after which the moving average sums afresh, as its manual has it."""


def run(path: str, sos: list) -> dict:
    """From memory to memory: what the flowgraph took, and what came of it."""
    graph = gr.top_block()
    x = np.load(path).astype(np.float32)
    sections = [filter.iir_filter_ffd(s[:3], s[3:], False) for s in sos]
    slope, square = filter.fir_filter_fff(1, SLOPE), blocks.multiply_ff(1)
    mean, sink = blocks.moving_average_ff(SPAN, 1 / SPAN, LONGEST), blocks.vector_sink_f(1, len(x))
    graph.connect(blocks.vector_source_f(x, False), *sections, slope, (square, 0))
    graph.connect(slope, (square, 1))
    graph.connect(square, mean, sink)
    spent, _ = timed(graph.run)
    return {**spent, "checksum": ecg_checksum(np.asarray(sink.data(), np.float32))}


if __name__ == "__main__":
    serve({"run": run, "versions": lambda: {"GNU Radio": gr.version()}})
