"""Run an experiment inside this process: flags in, status and what it printed out."""

import contextlib
import io
import sys
from unittest import mock

from absl.testing import flagsaver

from experiments import command


def run(experiment, *arguments):
    """Return exit status, standard output and standard error of `experiment` with `arguments`."""
    name = experiment.__name__.rpartition(".")[2]
    out, errors, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", [f"{name}.py", *arguments]),
        flagsaver.flagsaver(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
    ):
        try:
            command.run(experiment.main)
        except SystemExit as stopped:
            status = stopped.code
    return status, out.getvalue(), errors.getvalue()
