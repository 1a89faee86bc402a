"""Experiments: one file a job, each launched with `python -m experiments.NAME`."""

import signal
import sys

# While a job is being imported, for seconds, nothing has begun: Ctrl-C ends it without a traceback.
# `bert_jax.cli.command.run` then takes over. `-m` is what Python calls a job that it is to run.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
