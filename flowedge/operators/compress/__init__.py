"""Compressions: fewer rows, within a bound."""
