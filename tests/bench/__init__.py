"""Benchmarks: every figure that the documents give comes from here. `make bench` runs them all."""
