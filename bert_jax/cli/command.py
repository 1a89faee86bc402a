"""What every experiment's command line does: one-line errors, saved results, a table at the end."""

import io
import os
import re
import shlex
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import Any, NoReturn

from absl import flags, logging
from rich.table import Table

from bert_jax.arguments import MOST, check_place, is_finite, is_url
from bert_jax.cli.other_names import own_name
from bert_jax.cli.pipes import until_reader_goes
from bert_jax.cli.stopping import Stopping
from bert_jax.console import plain_console
from bert_jax.disk import PASSING, REFUSALS
from bert_jax.errors import UserError
from bert_jax.extras import named_extra
from bert_jax.file_names import NO_SUCH_NAME, is_endless, is_named_pipe
from bert_jax.json_reading import read_json_object
from bert_jax.mirror import as_given, at_hand
from bert_jax.stop_request import SIGNALS, SavedFirst

_NO_FLAGS: Mapping[str, str] = {}
_ONE_GROUP: Mapping[str, Sequence[str]] = {}
_OF_EVERY_COMMAND = ("config", "quiet")


def run(
    main: Callable[..., None],
    takes: str = "",
    flag_of: Mapping[str, str] = _NO_FLAGS,
    groups: Mapping[str, Sequence[str]] = _ONE_GROUP,
) -> None:
    """Parse the absl flags of `sys.argv`, call `main`, and turn user mistakes into one line.

    `--help` prints the module's docstring and its flags.

    Args:
        main: called without arguments; or, where the experiment takes some beside its flags, with
            the list of these.
        takes: what these are, for people; empty where there are none.
        flag_of: the flags of arguments that the library calls by another name.
        groups: of the flags that `--help` lists, by heading; where there are few, they need none.

    The library's `UserError`s name arguments, `name=value` or the name in backquotes. Where this
    command has a flag of that name, or `flag_of` gives one, the message says `--name` instead.

    Exit status, by which whoever started this decides whether to start it again:

    * 0: finished, `main` has returned.
    * 143, 130, 129: told to stop, by SIGTERM, Ctrl-C or a terminal that is lost (`cli.stopping`),
      one line. What was saved is intact, and the same command continues from there. `main` calls
      `stopped` where it ends early and in order.
    * 2: a user's mistake (an unknown or ill-formed flag, a `UserError`, a full disk), one line. The
      same command would fail again.
    * 1: a fault. Where a process or a disk was lost (`UserError.passing`), one line; any other
      exception is a bug and keeps its traceback.
    * 141: who read what is printed has gone (`… | head`).
    """
    define_common_flags()
    with until_reader_goes():
        if {"--help", "-help", "-h", "--helpfull"} & set(sys.argv[1:]):
            print(_help(groups))
        else:
            _run(main, takes, flag_of)


def define_common_flags() -> None:
    """Define the flags of every command, unless they are: in `run`, since flags may be cleared."""
    if "config" not in flags.FLAGS:
        flags.DEFINE_string(
            "config",
            None,
            "A config.json that a run has written, to take its settings; flags beside it count"
            " more.",
        )
        flags.DEFINE_bool(
            "quiet", False, "Print what comes out and what went wrong, but no progress."
        )


def _run(main: Callable[..., None], takes: str, flag_of: Mapping[str, str]) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may not be valid UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        rest = _parsed(sys.argv)[1:]
        if rest and not takes:
            raise UserError(f"got {rest[0]!r} besides the flags; expected --name=value only")
        _check_values()
    except UserError as error:
        _fail(str(error), status=1 if error.passing else 2)
    except flags.Error as error:
        _fail(_no_number(str(error)) or str(error))
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    with Stopping(_stopped_by) as stopping:
        try:
            _call(main, rest if takes else None, flag_of)
        except _Failed as error:
            _fail(str(error), status=1)
        except (SavedFirst, _StoppedInOrder):
            if flags.FLAGS.quiet:
                stopping.say()  # what the run said itself nobody read
            # Of several processes jax takes SIGTERM, and tells it to no one else.
            sys.exit(128 + (stopping.number or signal.SIGTERM))
        except KeyboardInterrupt:
            stopping.say()
            sys.exit(stopping.status)


class _StoppedInOrder(Exception):
    """See `stopped`."""


class _Failed(Exception):
    """See `failed`."""


def failed(message: str) -> NoReturn:
    """End a command by a fault that its user reads of in one line, with status 1."""
    raise _Failed(message)


def stopped() -> NoReturn:
    """End a command that was told to stop, has saved, and said so, with the signal's status.

    Not 0, for which a cluster would take an unfinished run for a finished one.
    """
    raise _StoppedInOrder


def _stopped_by(number: int) -> str:
    """What to say of an end by that signal."""
    kept = "nothing is half-written, and the same command starts over"
    workdir = _value("workdir")
    if workdir and is_url(workdir):
        kept = f"what {workdir} holds is intact, and the same command continues from there"
    elif workdir and (Path(workdir) / "config.json").is_file():
        kept = f"what {workdir} holds is intact, and the same command continues"
        checkpoints = (Path(workdir) / "checkpoints").glob("*")
        if steps := [int(path.name) for path in checkpoints if path.name.isdecimal()]:
            kept += f" from step {max(steps)}"
    return f"{_job()}: stopped by {SIGNALS[signal.Signals(number)]}; {kept}"


def _value(flag: str) -> str | None:
    """Of a flag of text; None where it has none, or there is no such flag."""
    return flags.FLAGS[flag].value if flag in flags.FLAGS else None


def _call(main: Callable[..., None], rest: list[str] | None, flag_of: Mapping[str, str]) -> None:
    try:
        with _quiet() if flags.FLAGS.quiet else nullcontext():
            _keep_programs()
            main() if rest is None else main(rest)
    except UserError as error:
        own = {name: name for name in _own_flags()}
        _fail(with_flags(str(error), own | dict(flag_of)), status=1 if error.passing else 2)
    except ModuleNotFoundError as error:
        missing = named_extra(error)
        if missing is None:
            raise
        _fail(str(missing))
    except OSError as error:
        if error.errno in NO_SUCH_NAME:
            _fail(
                f"got {_short(error.filename)}, which is not a file ({error.strerror}); expected"
                " one"
            )
        if error.errno not in REFUSALS:
            raise
        what = error.filename or "what was being written"
        _fail(
            f"got a disk that refuses {what} ({error.strerror}); expected one with room",
            status=1 if error.errno in PASSING else 2,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Let nobody read stderr, to which progress and remarks go; what ends a command comes later."""
    with open(os.devnull, "w", encoding="utf-8") as nobody, redirect_stderr(nobody):
        yield


def _parsed(line: list[str]) -> list[str]:
    """Parse a command line, after what the file says that it may name with `--config`.

    Returns:
        What is no flag.

    Raises:
        UserError: the file is none of a run, or has settings that this command does not know. Or
            a flag is one that this command calls something else.
        flags.Error: anything else is wrong with a flag.
    """
    try:
        rest = flags.FLAGS(line)
        if flags.FLAGS.config is None:
            return rest
        given = [flag for flag in _settings(flags.FLAGS.config) if not _is_given(flag)]
        flags.FLAGS.unparse_flags()
        return flags.FLAGS([line[0], *given, *line[1:]])
    except flags.UnrecognizedFlagError as error:
        own = own_name(error.flagname, _own_flags())
        if own is None:
            raise
        raise UserError(
            f"got --{error.flagname}; expected --{own}, as this command calls it"
        ) from error


def _settings(path: str) -> list[str]:
    """What a `config.json` says, as flags: ["--steps=9", "--nountied"]."""
    found = read_json_object(at_hand(path), "the config.json of a run")
    found.pop("digest", None)  # by which the run itself knows that nobody has changed it
    known, written = _own_flags() - set(_OF_EVERY_COMMAND), []
    for name, value in found.items():
        if name not in known:
            raise UserError(
                f"got --config={path} with {name}, which {_job()} does not have; expected the"
                " config.json of a run of this command"
            )
        flag = flags.FLAGS[name]
        several = isinstance(flag, flags.MultiFlag)
        if isinstance(value, bool):
            written.append(f"--{'' if value else 'no'}{name}")
        elif isinstance(value, list) and not several:
            items = flags.CsvListSerializer(",").serialize([str(each) for each in value])
            written.append(f"--{name}={items}")
        elif isinstance(value, dict) and several:
            written += [f"--{name}={key}={','.join(map(str, each))}" for key, each in value.items()]
        elif value is not None:
            written += [f"--{name}={each}" for each in (value if several else [value])]
    return written


def _is_given(flag: str) -> bool:
    """Whether the command line says what `--name=value`, `--name` or `--noname` is."""
    name = flag[2:].partition("=")[0]
    own = name if name in flags.FLAGS else name.removeprefix("no")
    return bool(flags.FLAGS[own].present)


def _keep_programs() -> None:
    """Do what `define_compilation_cache` says, in a command that calls it."""
    given = flags.FLAGS.flag_values_dict()
    if "compilation_cache" not in given:
        return
    from bert_jax.cli.compiled_programs import keep_programs  # jax, which not all commands want

    workdir = given.get("workdir")
    shared = given.get("processes") or given.get("distributed") or (workdir and is_url(workdir))
    keep_programs(given["compilation_cache"], workdir if shared else None)


def _check_values() -> None:
    """Refuse what no command has a use for: NaN, infinity, whole numbers that devices cannot hold,
    URLs of what is no bucket, which would become local folders of that name, and devices that can
    be read for ever.

    A flag that says itself how large it may be is checked where it is parsed. Of a pipe with a name
    it is said that it is waited for.
    """
    for names in _flags_by_module().values():
        for name in names:
            flag = flags.FLAGS[name]
            bounded = getattr(flag.parser, "upper_bound", None) is not None
            for value in flag.value if isinstance(flag.value, list) else [flag.value]:
                if isinstance(value, float) and not is_finite(value):
                    raise UserError(f"got --{name}={value}; expected a finite number")
                if type(value) is int and not bounded and not -MOST <= value <= MOST:
                    raise UserError(f"got --{name}={value}; expected at most {MOST}")
                if isinstance(value, str):
                    _check_names(name, value.split(","))


def _check_names(flag: str, values: Sequence[str]) -> None:
    for value in values:
        check_place(f"--{flag}", value)
        if is_endless(value):
            raise UserError(f"got --{flag}={value}, a device that never ends; expected a file")
        if is_named_pipe(value):
            print(
                f"--{flag}={value} is a pipe: waiting for something to write to it", file=sys.stderr
            )


def _no_number(message: str) -> str | None:
    """What to say of a flag's text that is no number; None of any other mistake.

    >>> _no_number("flag --steps=ten: invalid literal for int() with base 10: 'ten'")
    'got --steps=ten; expected a whole number'
    """
    found = re.match(r"flag (--\w+=.*?): (invalid literal for int|could not convert)", message)
    if found is None:
        return None
    kind = "a whole number" if "int" in found[2] else "a number"
    return f"got {found[1]}; expected {kind}"


def _help(groups: Mapping[str, Sequence[str]]) -> str:
    """The experiment's own words, then its flags in groups, with defaults."""
    lines = [(sys.modules["__main__"].__doc__ or "").strip()]
    own = {flag.name: flag for flag in flags.FLAGS.flags_by_module_dict().get(sys.argv[0], [])}
    grouped = {name for names in groups.values() for name in names}
    rest = [name for name in own if name not in grouped]
    headings = {**groups, "Other flags" if groups else "Flags": rest}
    for heading, names in headings.items():
        if names:
            lines += ["", f"{heading}:"]
            lines += [line for name in names for line in _flag_help(own[name])]
    lines += ["", "Of every command:"]
    lines += [line for name in _OF_EVERY_COMMAND for line in _flag_help(flags.FLAGS[name])]
    lines += ["  --flagfile=…", "      A file of flags, one a line."]
    return "\n".join(lines)


def _flag_help(flag: flags.Flag[Any]) -> list[str]:
    if flag.boolean:
        default = {None: "unset", True: "on", False: "off"}[flag.default]
        first = f"  --[no]{flag.name}  ({default})"
    else:
        default = "…" if flag.default is None else flag.serialize().partition("=")[2]
        first = f"  --{flag.name}={default.partition(chr(10))[0]}"
    words = re.sub(r";\s+repeat this option.*", "", flag.help or "")
    indent = " " * 6
    return [first, *textwrap.wrap(words, 92, initial_indent=indent, subsequent_indent=indent)]


def with_flags(message: str, flag_of: Mapping[str, str]) -> str:
    """The message with each argument that has a flag written as that flag.

    What stands in quotes is a user's own text and stays as it is.

    >>> with_flags("got steps=0 and `text` 'steps=0'; expected sides=1", {"steps": "num_steps"})
    "got --num_steps=0 and `text` 'steps=0'; expected sides=1"
    """

    def flag(found: re.Match[str]) -> str:
        name = found["assigned"] or found["named"]
        if name not in flag_of:
            return found[0]
        return f"--{flag_of[name]}" + ("=" if found["assigned"] else "")

    return _QUOTED_OR_NAMED.sub(flag, message)


_QUOTED_OR_NAMED = re.compile(
    r"""(?<!\w)(?P<quote>['"])(?:\\.|(?!(?P=quote)).)*(?P=quote)(?!\w)"""  # a value's repr
    r"""|(?<![\w.=/-])(?P<assigned>[a-z]\w*)=(?!=)"""
    r"""|`(?P<named>[a-z]\w*)`"""
)


def _own_flags() -> set[str]:
    return {name for names in _flags_by_module().values() for name in names}


def _flags_by_module() -> dict[str, list[str]]:
    """The names of the flags that this command defines, by itself or through what it imports."""
    return {
        module: [flag.name for flag in defined]
        for module, defined in flags.FLAGS.flags_by_module_dict().items()
        if module.partition(".")[0] != "absl"
    }


def _fail(message: str, status: int = 2) -> None:
    print(f"{_job()}: {as_given(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(status)


def command_line() -> str:
    """What was typed, as a module of a checkout is run.

    >>> command_line()  # doctest: +SKIP
    'python -m experiments.convert --from=runs/pretrain --to=exported'
    """
    return shlex.join(["python", "-m", _job(), *sys.argv[1:]])


def _short(name: Any) -> str:
    text = repr(name)
    return text if len(text) <= 100 else f"{text[:80]}…{text[-10:]}"


def _job() -> str:
    path = Path(sys.argv[0])
    package = "launch" if path.parent.name == "launch" else "experiments"
    return f"{package}.{path.stem}"


def print_table(title: str, rows: Mapping[str, Any]) -> None:
    """Print a two-column table: floats with four significant digits, all else whole, as it is.

    Copies of what buckets hold are called by their URLs.
    """
    table = Table(title=as_given(title), title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # a long path is shown whole
    for name, value in rows.items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) else as_given(str(value)))
    plain_console().print(table)


def whole_numbers(flag: str, texts: Sequence[str], least: int, most: int = MOST) -> list[int]:
    """The numbers of a list flag, each from `least` to `most` and there once.

    Raises:
        UserError: anything else, or none.
    """
    longest = len(str(most))  # Python refuses to read a number of thousands of digits
    numbers = [int(text) for text in texts if text.isdecimal() and len(text) <= longest]
    if not texts or len(set(numbers)) < len(texts) or min(numbers) < least or max(numbers) > most:
        raise UserError(
            f"got --{flag}={','.join(texts)}; expected whole numbers of at least {least} and at"
            f" most {most}, each once, separated by commas"
        )
    return numbers
