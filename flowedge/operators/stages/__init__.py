"""Stages: what stands behind a `|`."""
