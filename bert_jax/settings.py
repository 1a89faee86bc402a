"""Settings as a frozen dataclass: of each field its default, its bounds, and what it means.

    @dataclasses.dataclass(frozen=True)
    class Settings:
        steps: int = setting(1800, "Updates in the whole run.", least=1)

        def __post_init__(self) -> None:
            check_settings(self)

`bert_jax.cli.settings` makes the flags of a command from them. A field that is not made by
`setting` has no bounds and no flag.
"""

from __future__ import annotations

import dataclasses
import numbers
import os
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from bert_jax.arguments import MOST, is_finite, known_names
from bert_jax.errors import UserError

T = TypeVar("T")


def setting(
    default: Any,
    words: str,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """A field of a dataclass of settings.

    Args:
        default: where nothing else is said.
        words: what it means.
        least, most: bounds of a number, both allowed; of a whole number, `MOST` at most.
        choices: the strings that are allowed; empty where any is.
    """
    limits = {"least": least, "most": most, "choices": tuple(choices)}
    return dataclasses.field(default=default, metadata={"words": words, **limits})


def names_in(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names of a setting that takes several: a sequence, or one string with commas between.

    >>> names_in("token,position"), names_in(["token"]), names_in(None)
    (('token', 'position'), ('token',), ())
    """
    return tuple(value.split(",") if isinstance(value, str) else value or ())


def described_fields(settings: Any) -> list[dataclasses.Field[Any]]:
    """The fields of a dataclass, or of a value of one, that `setting` made."""
    return [field for field in dataclasses.fields(settings) if "words" in field.metadata]


def settings_of(settings: type[T], given: Mapping[str, Any]) -> T:
    """Make a dataclass of settings of what a caller gave by name.

    Raises:
        UserError: there is no such setting, or one is beyond its limits.
    """
    names = [field.name for field in dataclasses.fields(cast(Any, settings))]
    known_names(given, names, settings.__name__)
    return settings(**given)


def types_of(settings: type) -> dict[str, set[Any]]:
    """The types that each field may have, those of a union one by one: {"warmup": {float}}."""
    unions = (typing.Union, types.UnionType)
    alternatives = {
        name: typing.get_args(hint) if typing.get_origin(hint) in unions else (hint,)
        for name, hint in typing.get_type_hints(settings).items()
    }
    return {
        name: {typing.get_origin(kind) or kind for kind in kinds}
        for name, kinds in alternatives.items()
    }


def check_settings(settings: Any) -> None:
    """Check every value against the type and the limits of its field.

    Raises:
        UserError: the first that is beyond them, a number that is not one or not finite, or None
            where the field cannot be None.
    """
    kinds_of = types_of(type(settings))
    for field in described_fields(settings):
        value, limits = getattr(settings, field.name), field.metadata
        got = f"got {field.name}={value}; expected"
        kinds = kinds_of[field.name] - {types.NoneType}
        if value is None:
            if types.NoneType in kinds_of[field.name]:
                continue
            raise UserError(f"{got} a value, or no `{field.name}`")
        if kinds == {int} and not isinstance(value, numbers.Integral):
            raise UserError(f"{got} a whole number")
        if kinds <= {int, float} and not is_finite(value):
            raise UserError(f"{got} a finite number")
        if kinds <= {str, os.PathLike} and not isinstance(value, str | os.PathLike):
            raise UserError(f"{got} {'a text' if kinds == {str} else 'a path'}")
        if tuple in kinds and not isinstance(value, Sequence):
            raise UserError(f"{got} names, in a list or separated by commas")
        if limits["choices"] and value not in limits["choices"]:
            raise UserError(f"{got} one of {', '.join(limits['choices'])}")
        if limits["least"] is not None and not value >= limits["least"]:
            raise UserError(f"{got} at least {limits['least']}")
        most = MOST if limits["most"] is None and kinds == {int} else limits["most"]
        if most is not None and not value <= most:
            raise UserError(f"{got} at most {most}")
