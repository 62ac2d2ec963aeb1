"""The same session inside an existing distributed engine: empty until that is built."""
