"""How text is treated, as flags: the same ones in every command that reads text."""

from __future__ import annotations

from typing import Any

from absl import flags

flags.disclaim_key_flags()  # the flags are those of the module that asks for them


def define_treatment() -> None:
    """Define the flags of a command that makes or uses a bare vocabulary."""
    flags.DEFINE_string(
        "splitting",
        "words",
        "How text is split: words, spaces (text that is already split), or a regular expression"
        " whose every match is a token.",
    )
    flags.DEFINE_bool(
        "lowercase", None, "Lowercase the text; by default on when it is split into words."
    )
    flags.DEFINE_bool("strip_accents", None, "Strip accents; by default as --lowercase.")
    flags.DEFINE_bool(
        "split_chinese",
        None,
        "Make each Chinese character a word; by default on when text is split into words.",
    )


def treatment() -> dict[str, Any]:
    """What they say, by name."""
    names = ("splitting", "lowercase", "strip_accents", "split_chinese")
    return {name: flags.FLAGS[name].value for name in names}


def define_splitting() -> flags.FlagHolder[str | None]:
    """Define the flag of a command that reads a checkpoint, which usually says so itself."""
    return flags.DEFINE_string(
        "splitting",
        None,
        "How text is split, when the checkpoint does not say: words, spaces, or a regular"
        " expression.",
    )
