"""Text to syntax tree to diagnostics; knows nothing of data."""
