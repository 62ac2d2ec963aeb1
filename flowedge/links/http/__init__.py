"""HTTP: a listener that is held to bounds, and a client that waits for one answer at a time."""
