"""The engine core: rows in, rows out, snapshot, restore; no files, no clock, no threads."""
