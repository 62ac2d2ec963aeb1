"""Aggregates: folds over windows, frames and rolling extents."""
