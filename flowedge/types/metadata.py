"""What Arrow schemas say of a stream besides names and types, by the keys of their metadata."""

UNIT = b"flowedge.unit"
LABELS = b"flowedge.labels"
"""Of a field: its unit as it is written in a pipeline; the labels it may have, as a JSON list."""

RATE = b"flowedge.rate"
START = b"flowedge.start"
"""Of a schema: samples per second [Hz] and the first instant [ns since 1970], as numbers in text."""

FRAMES = b"flowedge.frames"
"""Of a schema of frames for a model, as JSON: `stream` and `model` by name; `inputs` in the model's order, each with
`name`, `shape` and `store`; `rate` of the samples [Hz]; `scaling` that was done, means and deviations of each input;
`classes` that the model tells apart; the columns with the `label` and the `share` of the frame that it
covers; whether the label `is_class`, or a number to be estimated."""

PIPELINE = b"flowedge.pipeline"
VERSION = b"flowedge.version"
"""Of a schema that was written: the digest of the pipeline, and the version of FlowEdge."""
