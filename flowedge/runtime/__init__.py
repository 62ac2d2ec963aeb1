"""The shell around a session: files, clocks, progress, reports."""
