"""Work spread over the workers of an Apache Beam runner; every exchange of data is by files.

Workers and the process that launches them see the same file system. What a worker has to tell (it
began, a task is done, a user made a mistake), it writes there, and so it arrives the same from
every runner:

    begun   done-00000000   done-00000001   mistake-00000002 …

A runner may wait for ever for workers that never come: so that is said, and ends.
"""

import contextlib
import io
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bert_jax.arguments import is_url
from bert_jax.bucket import Prefix
from bert_jax.data.beam_files import Exchange, is_bucket, new_exchange
from bert_jax.errors import UserError
from bert_jax.mirror import as_given, work_place
from bert_jax.waiting import Waiting, meanwhile

if TYPE_CHECKING:
    import apache_beam as beam

# These run in this process or beside it, so that an option they do not know means nothing.
_LOCAL_RUNNERS = ("DirectRunner", "SwitchingDirectRunner", "BundleBasedDirectRunner", "FnApiRunner")
# Beam has it and leaves it out of its list of short names.
_DASK, _DASK_PATH = "DaskRunner", "apache_beam.runners.dask.dask_runner.DaskRunner"

START_SECONDS = 600
"""How long a runner may take until its first worker begins, where nothing else is said."""

Task = tuple[int, Any]  # its number, and what is to be done


class BeamRun:
    """A Beam runner and its options.

    Example:
        BeamRun("DirectRunner")
        BeamRun("FlinkRunner", ["--flink_master=host:8081", "--parallelism=64"])
    """

    def __init__(
        self,
        runner: str,
        options: Sequence[str] = (),
        start_seconds: float = START_SECONDS,
        bucket: str | None = None,
    ):
        """Check the runner's name and the options, without starting anything.

        Args:
            runner: the name of Beam's, or module.path.Class.
            options: each --NAME=VALUE.
            start_seconds: how long it may take until the first worker begins.
            bucket: a gs:// or s3:// URL under which this process and the workers hand each other
                what they make; None for a folder beside what is made, which the workers see.

        Raises:
            UserError: Beam is not installed, or it does not know the runner or an option.
        """
        self.runner, self.options, self.start_seconds = runner, tuple(options), start_seconds
        self.bucket = bucket
        if bucket is not None and not is_bucket(bucket):
            raise UserError(f"got beam_bucket={bucket}; expected gs://BUCKET/… or s3://BUCKET/…")
        beam = _import_beam()
        from apache_beam.options.pipeline_options import PipelineOptions

        is_dask = runner.lower() in (_DASK.lower(), "dask", _DASK_PATH.lower())
        self._path = _DASK_PATH if is_dask else runner
        if is_dask:
            _import_dask()
        try:
            made = beam.runners.create_runner(self._path)
        except (ValueError, ImportError, AttributeError) as error:
            raise UserError(
                f"got Beam runner {runner!r}, which is not available: {_one_line(error, 100)}; "
                "expected DirectRunner, FlinkRunner, SparkRunner, DataflowRunner, DaskRunner or "
                "another"
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
        self._is_here = type(made).__name__ in _LOCAL_RUNNERS
        if self._is_here:  # others know more than Beam's Python side does
            known = PipelineOptions([]).get_all_options()
            unknown += sorted(f"--{name}" for name in given.keys() - known)
        if unknown:
            raise UserError(
                f"got Beam option {unknown[0]}, which {runner} does not know; {expected}"
            )

    def exchange(self, beside: Path) -> AbstractContextManager[Exchange]:
        """A new place for files between this process and the workers, taken away afterwards.

        In `bucket`; else beside what is made, and where that is made for a bucket, in that one, but
        for workers of this machine.
        """
        made = Path(as_given(beside))
        if self.bucket is not None:
            return new_exchange(beside, self.bucket)
        if not is_url(made):
            return new_exchange(beside)
        if not self._is_here:
            return new_exchange(beside, str(made.parent))
        return new_exchange(work_place(Prefix(beside)) if is_url(beside) else beside)

    def run(
        self,
        transform: "beam.PTransform",
        tasks: Sequence[Any],
        marks: Exchange,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Apply a transform to a PCollection of the numbered tasks; wait for the end.

        Args:
            transform: takes (number, task) pairs; does each within `attempt(marks, number)`.
            tasks: what there is to do; may be done in any order, anywhere, and more than once.
            marks: a new place that this process and all workers see.
            progress: is called now and then, in another thread, with how many tasks are done;
                without it, that is printed now and then.

        Raises:
            UserError: that of the first task which raised one; or the runner cannot work.
        """
        if not tasks:
            return
        beam = _import_beam()
        from apache_beam.options.pipeline_options import PipelineOptions

        # Later options win: workers of a local runner else log every step on the terminal.
        usual = ["--default_sdk_harness_log_level=WARNING"]
        if self._path == _DASK_PATH and not any(
            option.startswith(("--dask_npartitions", "--dask_partition_size"))
            for option in self.options
        ):
            usual.append("--dask_partition_size=1")  # else 128 tasks go to one worker
        options = PipelineOptions([*usual, *self.options])
        marks.make()
        job = None
        said = f"Beam runner {self.runner} with options {' '.join(self.options) or 'none'}"
        try:
            with (
                _watched(marks, len(tasks), self, progress) as begun,
                _quiet_until(begun),
                _own_temporary_files(),
            ):
                pipeline = beam.Pipeline(runner=self._path, options=options)
                _ = pipeline | beam.Create(list(enumerate(tasks))) | beam.Reshuffle() | transform
                latest = time.monotonic() + self.start_seconds
                _await_job_service(options, latest)
                job = pipeline.run()  # here: some of its runners catch signals
                state = _wait(job, begun, latest)
                _close(job)
        except _NeverBegan as error:
            _cancel(job)
            raise UserError(
                f"got {said}, but no worker started within {self.start_seconds:.0f} s{error};"
                " expected a running engine and workers that have bert_jax installed and see"
                f" {str(marks.place)!r}, or more `beam_start_seconds`"
            ) from None
        except Exception as error:  # every runner has its own
            if marks.marks():
                raise
            raise UserError(
                f"got {said}, which ended before a worker could start in {str(marks.place)!r}: "
                f"{_one_line(error)}; expected a runner that can be reached, whose workers see that"
                " folder"
            ) from error
        except BaseException:  # Ctrl-C
            _cancel(job)
            raise
        if mistakes := sorted(name for name in marks.marks() if name.startswith("mistake-")):
            raise UserError(marks.text_of(mistakes[0]))
        if state != "DONE":
            raise UserError(f"got a Beam job that ended as {state}; expected DONE")

    def for_each(
        self,
        work: Callable[[Any], None],
        tasks: Sequence[Any],
        marks: Exchange,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Do `work` on every task; both are pickled. Otherwise as `run`."""
        beam = _import_beam()
        self.run(beam.Map(partial(_do, work=work, marks=marks)), tasks, marks, progress)


def open_beam(
    runner: str | None,
    options: Sequence[str],
    start_seconds: float | None,
    bucket: str | None,
    workers_given: bool,
) -> BeamRun | None:
    """The Beam runner that is asked for, if any; None as `start_seconds` is the default.

    Raises:
        UserError: there is none such, or `workers` were given, which are for work done here.
    """
    if runner is None and options:
        raise UserError(
            f"got beam_options={options[0]} without `beam_runner`; expected the runner's name, "
            "such as beam_runner=DirectRunner"
        )
    for name, value in (("beam_start_seconds", start_seconds), ("beam_bucket", bucket)):
        if runner is None and value is not None:
            raise UserError(
                f"got {name}={value} without `beam_runner`; expected the runner's name, such as "
                "beam_runner=DirectRunner"
            )
    if runner is not None and workers_given:
        raise UserError(
            "got `workers` with `beam_runner`; expected the runner's own option for that, such as"
            " beam_options=--direct_num_workers=2"
        )
    if runner is None:
        return None
    return BeamRun(runner, options, start_seconds or START_SECONDS, bucket)


@contextmanager
def attempt(marks: Exchange, number: int) -> Iterator[None]:
    """Do a task on a worker so that the launching process hears of it, and of a user's mistake."""
    marks.mark("begun")
    try:
        yield
        marks.mark(f"done-{number:08d}")
    except UserError as error:
        marks.mark(f"mistake-{number:08d}", str(error))


@contextmanager
def _watched(
    marks: Exchange, tasks: int, run: BeamRun, progress: Callable[[int], None] | None
) -> Iterator[threading.Event]:
    """Tell, within the block, how many tasks are done, or that none has begun; gives whether."""
    begun = threading.Event()

    def watch(over: threading.Event) -> None:
        seen, pause = 0, 1.0
        first = Waiting(f"the first worker of {run.runner}", run.start_seconds)
        others = Waiting(f"the workers of {run.runner}")
        while not over.wait(pause):
            began = time.monotonic()
            try:
                left = marks.marks()
            except UserError:  # a bucket that does not answer now
                continue
            if not left:
                first.say()
                continue
            begun.set()
            done = len(left - {"begun"})
            if progress is not None and done > seen:
                progress(done)
                others = Waiting(f"the workers of {run.runner}")
            seen = done
            others.say(f"{done} of {tasks} tasks done, ")
            pause = max(1.0, 10 * (time.monotonic() - began))  # a slow folder is not worn out

    with meanwhile(watch):
        yield begun


@contextmanager
def _own_temporary_files() -> Iterator[None]:
    """Take away what Beam leaves among the temporary files: folders of every pipeline and job."""
    usual = tempfile.tempdir
    with TemporaryDirectory(prefix="bert-jax-beam-", ignore_cleanup_errors=True) as own:
        tempfile.tempdir = own
        try:
            yield
        finally:
            tempfile.tempdir = usual


@contextmanager
def _quiet_until(begun: threading.Event) -> Iterator[None]:
    """Keep what a job service says out of the log: until a worker began, it is what we say, too."""
    root = logging.getLogger()

    def may_pass(_: logging.LogRecord) -> bool:
        return begun.is_set()

    root.addFilter(may_pass)
    try:
        yield
    finally:
        root.removeFilter(may_pass)


class _NeverBegan(Exception):
    """With what is known of the reason, to follow other words, or nothing."""


def _await_job_service(options: Any, latest: float) -> None:
    """Wait until the job service of a portable runner answers, for which Beam would do for ever.

    Raises:
        _NeverBegan: it does not until the time `latest`.
    """
    from apache_beam.options.pipeline_options import PortableOptions

    endpoint = options.view_as(PortableOptions).job_endpoint
    if endpoint and endpoint != "embed":
        import grpc  # of Beam

        with grpc.insecure_channel(endpoint) as channel:
            try:
                grpc.channel_ready_future(channel).result(latest - time.monotonic())
            except grpc.FutureTimeoutError:
                raise _NeverBegan(f", since nothing answers at {endpoint}") from None


def _wait(job: Any, begun: threading.Event, latest: float) -> str:
    """Return the state in which a job ends.

    Raises:
        _NeverBegan: no worker began until the time `latest`.
    """
    ended: Future[str] = Future()

    def finish() -> None:
        try:
            ended.set_result(job.wait_until_finish())
        except BaseException as error:
            ended.set_exception(error)

    # In a thread: a runner may wait in C, deaf to signals, and for ever.
    threading.Thread(target=finish, daemon=True).start()
    while not wait([ended], timeout=1.0).done:
        if not begun.is_set() and time.monotonic() > latest:
            raise _NeverBegan
    return ended.result()


def _close(job: Any) -> None:
    """Close the connection that Dask's runner leaves open, and its cluster where it began one."""
    client = getattr(job, "client", None)
    if client is not None:
        client.close()


def _cancel(job: Any) -> None:
    """Ask a runner to end a job, for some seconds: it may be deaf."""

    def cancel() -> None:
        with suppress(Exception):  # every runner has its own
            job.cancel()
            _close(job)

    if job is not None:
        canceller = threading.Thread(target=cancel, daemon=True)
        canceller.start()
        canceller.join(10)


def _do(task: Task, work: Callable[[Any], None], marks: Exchange) -> None:
    number, what = task
    with attempt(marks, number):
        work(what)


def _import_beam() -> Any:
    heard = logging.root.manager.disable
    try:
        logging.disable(logging.WARNING)  # it warns of clients for Google's BigQuery, all the time
        import apache_beam
    except ImportError as error:
        raise UserError(
            f"got a Beam runner, but Beam cannot be imported ({error}); expected it to be"
            " installed: "
            "python3 -m pip install -c constraints-beam.txt -e '.[beam]'"
        ) from error
    finally:
        logging.disable(heard)
    return apache_beam


def _import_dask() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"got beam_runner=DaskRunner, but Dask cannot be imported ({error}); expected it to be"
            " installed: python3 -m pip install -c constraints-beam.txt -e '.[beam,dask]'"
        ) from error


def _one_line(error: BaseException, longest: int = 300) -> str:
    """What an error says, or the end of the traceback in it that a runner brings from elsewhere."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    is_traceback = any("Traceback (most recent call last)" in line for line in lines)
    text = " ".join((lines[-1] if is_traceback else " ".join(lines)).split())
    return text if len(text) <= longest else f"{text[:longest].rsplit(' ', 1)[0]} …"
