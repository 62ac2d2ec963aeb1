"""Writes the source of a kernel: expressions, chains of stages, and the tails that hold rows back."""
