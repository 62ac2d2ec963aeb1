"""Kernels that write payloads."""
