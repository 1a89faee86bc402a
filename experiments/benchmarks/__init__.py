"""Benchmarks: what is fast, measured as a ratio against something in the same run."""
