"""Kernels written by hand: what sessions need beside the generated ones.

A library kernel is a plain function ``kernel(ctx) -> status`` over `flowedge.compile.memory`. It
runs in a debugger as it stands; `library` compiles it, or finds its object code in the cache.
"""
