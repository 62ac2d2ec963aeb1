"""What Arrow schemas say of a stream besides names and types, by the keys of their metadata."""

UNIT = b"flowedge.unit"
LABELS = b"flowedge.labels"
"""Of a field: its unit as it is written in a pipeline; the labels it may have, as a JSON list."""

RATE = b"flowedge.rate"
START = b"flowedge.start"
"""Of a schema: samples per second [Hz] and the first instant [ns since 1970], as numbers in text."""

PIPELINE = b"flowedge.pipeline"
VERSION = b"flowedge.version"
"""Of a schema that was written: the digest of the pipeline, and the version of FlowEdge."""
