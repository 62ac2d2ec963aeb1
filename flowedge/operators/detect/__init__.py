"""Detectors: streams of events."""
