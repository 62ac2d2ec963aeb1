"""Samples of sound on their way in: what their bytes mean, when they were taken, and where they come from."""
