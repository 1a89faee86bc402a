"""The workers of a cluster, as flags: the same ones in every command that can use them."""

from __future__ import annotations

from typing import Any

from absl import flags

flags.disclaim_key_flags()  # the flags are those of the module that asks for them


def define_beam() -> None:
    """Define the flags; `open_beam` takes what they say."""
    flags.DEFINE_string(
        "beam_runner",
        None,
        "Run on the workers of this Apache Beam runner, for text too large for one machine.",
    )
    flags.DEFINE_multi_string(
        "beam_options", [], "An option for that runner: --NAME=VALUE. May be repeated."
    )
    flags.DEFINE_integer(
        "beam_start_seconds",
        None,
        "Give up if no worker has started after this many seconds; by default 600.",
        lower_bound=1,
    )
    flags.DEFINE_string(
        "beam_bucket",
        None,
        "A gs:// or s3:// URL for temporary files, when the workers share no disk.",
    )


def beam_asked() -> dict[str, Any]:
    """What they say, by the arguments of `open_beam`."""
    given = flags.FLAGS
    return {
        "runner": given["beam_runner"].value,
        "options": given["beam_options"].value,
        "start_seconds": given["beam_start_seconds"].value,
        "bucket": given["beam_bucket"].value,
        "workers_given": given["workers"].present,
    }
