"""Experiments: one file a job, each launched with `python -m experiments.NAME`."""
