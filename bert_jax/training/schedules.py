"""Learning-rate schedules: a linear warm-up to the peak, and what comes after it.

    linear, polynomial    (1 - progress)^power      Devlin et al. 2018, appendix A.2
    cosine                half a wave               Loshchilov & Hutter 2017
    constant              the peak
    wsd                   the peak, then a decay    Hu et al. 2024 (MiniCPM), Hägele et al. 2024

A schedule is a rate by the number of updates applied. Two runs whose schedules have the same rates
up to an update are the same run up to there, whatever their lengths (`shared_updates`): a constant
rate can be lengthened whenever, warm-up-stable-decay while it is stable, the others never.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bert_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Course:
    """How high a schedule goes, and when.

    Attributes:
        peak: the peak learning rate.
        steps: updates in the whole run.
        warmup_steps: updates in which the rate rises; 0 starts at `peak`.
        decay_steps: the last updates, in which a schedule with a stable part falls.
        power: of a decay: 1 is linear, 2 quadratic.
        end: the rate after the last update.

    Raises:
        UserError: warm-up or decay longer than the run, or a negative number.
    """

    peak: float
    steps: int
    warmup_steps: int = 0
    decay_steps: int = 0
    power: float = 1.0
    end: float = 0.0

    def __post_init__(self) -> None:
        for name, steps in (("warm-up", self.warmup_steps), ("decay", self.decay_steps)):
            if not 0 <= steps <= self.steps:
                raise UserError(
                    f"got a {name} of {steps} steps in a run of {self.steps}; expected 0 to"
                    f" {self.steps}"
                )
        if self.peak < 0 or self.end < 0 or self.power < 0:
            raise UserError(
                f"got peak={self.peak}, end={self.end}, power={self.power}; expected none of them"
                " negative"
            )


def polynomial(course: Course) -> optax.Schedule:
    """Fall as (1 - progress)^power from the end of the warm-up to that of the run.

    rate  peak ┤    ╱╲
               │  ╱    ╲          power 1: the published linear decay
           end ┤╱        ╲
               └──────────── step
                 warmup   steps
    """
    return _after_warmup(course, _decay(course, course.warmup_steps))


def linear(course: Course) -> optax.Schedule:
    """`polynomial` of power 1.

    Raises:
        UserError: another power.
    """
    _check_no_power("linear", course)
    return polynomial(course)


def cosine(course: Course) -> optax.Schedule:
    """Fall along half a wave: slowly at first and at last.

    Raises:
        UserError: a power other than 1, of which a wave has none.
    """
    _check_no_power("cosine", course)

    def falling(count: jax.Array) -> jax.Array:
        left = _left(count, course.warmup_steps, course.steps)
        return course.end + (course.peak - course.end) * (1 - jnp.cos(jnp.pi * left)) / 2

    return _after_warmup(course, falling)


def constant(course: Course) -> optax.Schedule:
    """Stay at the peak.

    Raises:
        UserError: a power other than 1, since nothing falls.
    """
    _check_no_power("constant", course)
    return _after_warmup(course, lambda count: jnp.full_like(count, course.peak))


def warmup_stable_decay(course: Course) -> optax.Schedule:
    """Stay at the peak until the last `decay_steps`, then fall as (1 - progress)^power.

        rate  peak ┤    ╱────────╲
                   │  ╱           ╲       the run can be lengthened, or its decay begun,
               end ┤╱              ╲      anywhere here ▔▔▔▔▔▔▔▔
                   └───────────────── step
                     warmup    decay  steps

    Raises:
        UserError: warm-up and decay together are longer than the run.
    """
    stable_end = course.steps - course.decay_steps
    if stable_end < course.warmup_steps:
        raise UserError(
            f"got a warm-up of {course.warmup_steps} and a decay of {course.decay_steps} steps in"
            f" a run of {course.steps}; expected that they fit into it"
        )
    falling = _decay(course, stable_end)
    return _after_warmup(
        course, lambda count: jnp.where(count < stable_end, course.peak, falling(count))
    )


SCHEDULES: dict[str, Callable[[Course], optax.Schedule]] = {
    "linear": linear,
    "polynomial": polynomial,
    "cosine": cosine,
    "constant": constant,
    "wsd": warmup_stable_decay,
}


def create_schedule(name: str, course: Course) -> optax.Schedule:
    """A schedule by name.

        >>> rate = create_schedule("linear", Course(peak=1e-3, steps=100, warmup_steps=10))
        >>> [round(float(rate(step)), 6) for step in (0, 5, 10, 55, 100)]
        [0.0001, 0.0006, 0.001, 0.0005, 0.0]

    Raises:
        UserError: an unknown name, or a course that the schedule cannot take.
    """
    if name not in SCHEDULES:
        raise UserError(f"got schedule {name!r}; expected one of {', '.join(SCHEDULES)}")
    return SCHEDULES[name](course)


def warmup_polynomial(
    peak: float, steps: int, warmup_steps: int, power: float = 1.0, end: float = 0.0
) -> optax.Schedule:
    """`polynomial` of a course, for whoever has no choice to offer."""
    return polynomial(Course(peak, steps, warmup_steps, power=power, end=end))


def whole_steps(given: float, steps: int) -> int:
    """A number of steps, of which below 1 a share of `steps` is given: 0.1 of 450 is 45."""
    return round(given * steps) if given < 1 else round(given)


def shared_updates(first: optax.Schedule, second: optax.Schedule, most: int) -> int:
    """How many of the first `most` updates have the same rate, to the bit, in both schedules."""
    counts = jnp.arange(most)
    differs = np.asarray(jax.jit(first)(counts)) != np.asarray(jax.jit(second)(counts))
    return int(np.argmax(differs)) if differs.any() else most


def _check_no_power(name: str, course: Course) -> None:
    """Refuse a power where a schedule has no use for it."""
    if course.power != 1:
        raise UserError(
            f"got a {name} schedule with a decay of power {course.power}; expected power 1, or"
            " `schedule`=polynomial or wsd"
        )


def _after_warmup(course: Course, then: optax.Schedule) -> optax.Schedule:
    """Rise linearly to the peak, then go on as `then` does.

    The first update already has the rate peak / warmup_steps, not zero: no step is wasted.
    """

    def rate(count):  # count: updates applied so far
        count = jnp.asarray(count, jnp.float32)
        rising = course.peak * (count + 1) / max(course.warmup_steps, 1)
        return jnp.where(count < course.warmup_steps, rising, then(count))

    return rate


def _decay(course: Course, begin: int) -> optax.Schedule:
    def falling(count: jax.Array) -> jax.Array:
        left = _left(count, begin, course.steps)
        return course.end + (course.peak - course.end) * left**course.power

    return falling


def _left(count: jax.Array, begin: int, end: int) -> jax.Array:
    """The share of the steps from `begin` to `end` that is still to come: 1 … 0."""
    return jnp.clip((end - count) / max(end - begin, 1), 0.0, 1.0)
