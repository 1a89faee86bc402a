"""A dataclass of settings becomes flags, and the flags become settings."""

import dataclasses

import pytest
from absl import flags

from bert_jax import UserError
from bert_jax.cli.settings import define_flags, given_settings
from bert_jax.settings import check_settings, setting


@dataclasses.dataclass(frozen=True)
class Sizes:
    sides: int = setting(4, "Of the polygon.", least=3)
    names: tuple[str, ...] = setting((), "Of the corners.")
    scale: float | None = setting(None, "By default as drawn.", most=2.0)
    grid: dict[str, int] = dataclasses.field(default_factory=dict)


def test_flags_of_settings_and_back(monkeypatch):
    values = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", values)
    for define in ("DEFINE_integer", "DEFINE_list", "DEFINE_float"):
        original = getattr(flags, define)
        monkeypatch.setattr(
            flags, define, lambda *a, f=original, **k: f(*a, flag_values=values, **k)
        )
    define_flags(Sizes)
    assert "grid" not in values  # it has no words: its command reads it
    values(["polygon", "--names=a,b", "--sides=3"])
    assert given_settings(Sizes) == {"sides": 3, "names": ("a", "b"), "scale": None}
    assert Sizes(**given_settings(Sizes)) == Sizes(3, ("a", "b"))
    with pytest.raises(flags.IllegalFlagValueError, match="--sides=2"):
        values(["polygon", "--sides=2"])


def test_bounds_are_checked():
    check_settings(Sizes(grid={"any": 1}))
    with pytest.raises(UserError, match="got sides=2; expected at least 3"):
        check_settings(Sizes(sides=2))
    with pytest.raises(UserError, match=r"got scale=3.0; expected at most 2.0"):
        check_settings(Sizes(scale=3.0))


def test_numbers_are_numbers():
    with pytest.raises(UserError, match=r"got sides=3.5; expected a whole number"):
        check_settings(Sizes(sides=3.5))
    with pytest.raises(UserError, match="got sides=4; expected a whole number"):
        check_settings(Sizes(sides="4"))
    for wrong in ("1", float("nan"), float("-inf")):
        with pytest.raises(UserError, match=f"got scale={wrong}; expected a finite number"):
            check_settings(Sizes(scale=wrong))
    check_settings(Sizes(scale=1))


def test_none_and_a_number_are_no_names():
    check_settings(Sizes(names=["a"]))
    with pytest.raises(UserError, match="got sides=None; expected a value, or no `sides`"):
        check_settings(Sizes(sides=None))
    with pytest.raises(UserError, match="got names=5; expected names, in a list or separated by"):
        check_settings(Sizes(names=5))
