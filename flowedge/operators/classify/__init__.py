"""Classifiers: a label for each row or frame."""
