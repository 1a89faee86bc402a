"""A dataclass of settings (`bert_jax.settings`) as the flags of a command, and back."""

from __future__ import annotations

from typing import Any

from absl import flags

from bert_jax.settings import described_fields, types_of

flags.disclaim_key_flags()  # the flags are those of the module that asks for them


def define_flags(settings: type) -> None:
    """Define a flag for every field that `setting` made, with its default, bounds and words."""
    kinds_of = types_of(settings)
    for field in described_fields(settings):
        name, limits = field.name, field.metadata
        default: Any = field.default
        kinds = kinds_of[name]
        bounds = {"lower_bound": limits["least"], "upper_bound": limits["most"]}
        if bool in kinds:
            flags.DEFINE_bool(name, default, limits["words"])
        elif int in kinds:
            flags.DEFINE_integer(name, default, limits["words"], **bounds)
        elif float in kinds and str not in kinds:
            flags.DEFINE_float(name, default, limits["words"], **bounds)
        elif tuple in kinds:
            flags.DEFINE_list(name, default, limits["words"])
        elif limits["choices"]:
            flags.DEFINE_enum(name, default, limits["choices"], limits["words"])
        else:
            flags.DEFINE_string(name, default, limits["words"])


def given_settings(settings: type) -> dict[str, Any]:
    """What the flags of `define_flags(settings)` say, by name."""
    given = {f.name: flags.FLAGS[f.name].value for f in described_fields(settings)}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
