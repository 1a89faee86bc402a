"""Work spread over the workers of an Apache Beam runner; every exchange of data is by files.

Workers and the process that launches them see the same file system. What a worker has to tell,
a result or a user's mistake, it writes there, so that it arrives the same from every runner.
"""

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_jax.errors import UserError

if TYPE_CHECKING:
    import apache_beam as beam

# These run in this process or beside it, so that an option they do not know means nothing.
_LOCAL_RUNNERS = ("DirectRunner", "SwitchingDirectRunner", "BundleBasedDirectRunner", "FnApiRunner")

Task = tuple[int, Any]  # its number, and what is to be done


class BeamRun:
    """A Beam runner and its options.

    Example:
        BeamRun("DirectRunner")
        BeamRun("FlinkRunner", ["--flink_master=host:8081", "--parallelism=64"])
    """

    def __init__(self, runner: str, options: Sequence[str] = ()):
        """Check the runner's name and the options, without starting anything.

        Raises:
            UserError: Beam is not installed, or it does not know the runner or an option.
        """
        self.runner, self.options = runner, tuple(options)
        beam = _import_beam()
        from apache_beam.options.pipeline_options import PipelineOptions

        try:
            made = beam.runners.create_runner(runner)
        except (ValueError, ImportError, AttributeError) as error:
            raise UserError(
                f"got Beam runner {runner!r}, which cannot be had: {_one_line(error, 100)}; "
                "expected DirectRunner, FlinkRunner, SparkRunner, DataflowRunner or another"
            ) from error
        expected = "expected beam_options=--NAME=VALUE with an option of the runner"
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):  # a wrong value ends the process, by argparse
                given = PipelineOptions(list(options)).get_all_options(retain_unknown_options=True)
        except SystemExit as error:
            reason = said.getvalue().strip().rpartition("error: ")[2]
            raise UserError(
                f"got Beam options {' '.join(options)}: {reason}; {expected}"
            ) from error
        unknown = [option for option in options if not option.startswith("--")]
        if type(made).__name__ in _LOCAL_RUNNERS:  # others know more than Beam's Python side does
            known = PipelineOptions([]).get_all_options()
            unknown += sorted(f"--{name}" for name in given.keys() - known)
        if unknown:
            raise UserError(
                f"got Beam option {unknown[0]}, which {runner} does not know; {expected}"
            )

    def run(self, transform: "beam.PTransform", tasks: Sequence[Any], folder: Path) -> None:
        """Apply a transform to a PCollection of the numbered tasks; wait for the end.

        Args:
            transform: takes (number, task) pairs; does each within `attempt(folder, number)`.
            tasks: what there is to do; may be done in any order, anywhere, and more than once.
            folder: an empty folder that this process and all workers see.

        Raises:
            UserError: that of the first task which raised one; or the runner cannot work.
        """
        if not tasks:
            return
        beam = _import_beam()
        from apache_beam.options.pipeline_options import PipelineOptions

        # Later options win: workers of a local runner else log every step on the terminal.
        options = PipelineOptions(["--default_sdk_harness_log_level=WARNING", *self.options])
        try:
            pipeline = beam.Pipeline(runner=self.runner, options=options)
            _ = pipeline | beam.Create(list(enumerate(tasks))) | beam.Reshuffle() | transform
            state = pipeline.run().wait_until_finish()
        except Exception as error:  # every runner has its own
            if (folder / "begun").exists():
                raise
            raise UserError(
                f"got Beam runner {self.runner} with options {' '.join(self.options) or 'none'}, "
                f"which ended before a worker could begin in {str(folder)!r}: {_one_line(error)}; "
                "expected a runner that can be reached, whose workers see that folder"
            ) from error
        if mistakes := sorted(folder.glob("mistake-*")):
            raise UserError(mistakes[0].read_text())
        if state != "DONE":
            raise UserError(f"got a Beam job that ended as {state}; expected DONE")

    def for_each(self, work: Callable[[Any], None], tasks: Sequence[Any], folder: Path) -> None:
        """Do `work` on every task; both are pickled. Otherwise as `run`."""
        beam = _import_beam()
        self.run(beam.Map(partial(_do, work=work, folder=folder)), tasks, folder)


def open_beam(runner: str | None, options: Sequence[str], workers_given: bool) -> BeamRun | None:
    """The Beam runner that is asked for, if any.

    Raises:
        UserError: there is none such, or `workers` were given, which are for work done here.
    """
    if runner is None and options:
        raise UserError(
            f"got beam_options={options[0]} without `beam_runner`; expected the runner's name, "
            "such as beam_runner=DirectRunner"
        )
    if runner is not None and workers_given:
        raise UserError(
            "got `workers` beside `beam_runner`; expected the runner's own way to say how many, "
            "such as beam_options=--direct_num_workers=2"
        )
    return None if runner is None else BeamRun(runner, options)


@contextmanager
def attempt(folder: Path, number: int) -> Iterator[None]:
    """Do a task on a worker so that the launching process hears of a user's mistake."""
    (folder / "begun").touch()
    try:
        yield
    except UserError as error:
        (folder / f"mistake-{number:08d}").write_text(str(error))


def _do(task: Task, work: Callable[[Any], None], folder: Path) -> None:
    number, what = task
    with attempt(folder, number):
        work(what)


def _import_beam() -> Any:
    heard = logging.root.manager.disable
    try:
        logging.disable(logging.WARNING)  # it warns of clients for Google's BigQuery, all the time
        import apache_beam
    except ImportError as error:
        raise UserError(
            f"got a Beam runner, but Beam cannot be imported ({error}); expected it installed: "
            "python3 -m pip install -c constraints-beam.txt -e '.[beam]'"
        ) from error
    finally:
        logging.disable(heard)
    return apache_beam


def _one_line(error: BaseException, longest: int = 300) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= longest else f"{text[:longest].rsplit(' ', 1)[0]} …"
