"""Functions of the row: mathematics, the past, time, text."""
