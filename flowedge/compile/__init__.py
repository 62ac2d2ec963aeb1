"""From the typed graph to fused kernels, and to a program that a session runs."""
