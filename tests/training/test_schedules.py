import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.training.schedules import (
    SCHEDULES,
    Course,
    create_schedule,
    shared_updates,
    warmup_polynomial,
    whole_steps,
)


def rates(name, steps, **course):
    rate = create_schedule(name, Course(1.0, steps, **course))
    return [float(rate(i)) for i in range(steps + 1)]


def test_rises_then_falls_linearly():
    rate = warmup_polynomial(peak=1.0, steps=8, warmup_steps=4)
    np.testing.assert_allclose(
        [rate(i) for i in range(9)], [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    )


def test_power_and_end():
    rate = warmup_polynomial(peak=1.0, steps=4, warmup_steps=0, power=2.0, end=0.5)
    np.testing.assert_allclose([rate(0), rate(2), rate(4), rate(9)], [1.0, 0.625, 0.5, 0.5])


def test_the_polynomial_is_to_the_bit_what_it_was():
    def before(count):
        count = jnp.asarray(count, jnp.float32)
        rising = 2e-3 * (count + 1) / max(45, 1)
        left = (450 - count) / max(450 - 45, 1)
        falling = 0.0 + (2e-3 - 0.0) * jnp.clip(left, 0.0, 1.0) ** 1.0
        return jnp.where(count < 45, rising, falling)

    now = create_schedule("polynomial", Course(2e-3, 450, 45))
    assert shared_updates(now, before, 451) == 451
    linear = create_schedule("linear", Course(2e-3, 450, 45))
    assert shared_updates(linear, before, 451) == 451


def test_each_schedule_by_hand():
    half = np.sqrt(0.5)
    wave = [1.0, (1 + half) / 2, 0.5, (1 - half) / 2, 0.0]
    np.testing.assert_allclose(rates("linear", 4), [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(rates("polynomial", 4, power=2.0), [1, 9 / 16, 0.25, 1 / 16, 0])
    np.testing.assert_allclose(rates("cosine", 4), wave, atol=1e-6)
    np.testing.assert_allclose(rates("constant", 4, warmup_steps=2), [0.5, 1, 1, 1, 1])
    stable = rates("wsd", 8, warmup_steps=2, decay_steps=4)
    np.testing.assert_allclose(stable, [0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0])
    assert rates("wsd", 4, decay_steps=0) == [1, 1, 1, 1, 0]  # only the rate after the run falls


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_is_the_same_and_no_rate_is_above_the_peak(name):
    found = rates(name, 40, warmup_steps=10, decay_steps=8)
    np.testing.assert_allclose(found[:10], np.arange(1, 11) / 10, rtol=1e-6)
    assert all(0 <= rate <= 1 for rate in found)


def agreement(name, shorter, longer):
    """Up to which update two courses have the same rates."""
    first, second = create_schedule(name, shorter), create_schedule(name, longer)
    return shared_updates(first, second, shorter.steps)


def test_up_to_where_a_run_can_be_lengthened():
    shorter, longer = Course(3e-4, 100, 10, 30), Course(3e-4, 170, 10, 30)
    # The update after the stable part has the peak in both, as a decay begins with it.
    assert agreement("wsd", shorter, longer) == 71
    assert agreement("constant", shorter, longer) == 100
    # Nothing but the warm-up and the first update after it.
    assert [agreement(name, shorter, longer) for name in ("linear", "cosine")] == [11, 11]
    # A decay that begins earlier: the same run up to there.
    assert agreement("wsd", Course(3e-4, 60, 10, 20), longer) == 41
    assert agreement("wsd", shorter, Course(3e-4, 170, 17, 30)) == 0  # another warm-up


def test_steps_or_their_share():
    assert [whole_steps(n, 450) for n in (0.1, 0, 45, 1)] == [45, 0, 45, 1]


@pytest.mark.parametrize(("warmup", "peak"), [(9, 1.0), (-1, 1.0), (2, -1.0)])
def test_nonsense_is_refused(warmup, peak):
    with pytest.raises(UserError, match="expected"):
        warmup_polynomial(peak=peak, steps=8, warmup_steps=warmup)


@pytest.mark.parametrize(
    ("name", "course", "named"),
    [
        ("triangle", {}, "got schedule 'triangle'; expected one of linear, polynomial, cosine"),
        ("linear", {"power": 2.0}, "linear schedule with a decay of power 2.0; expected power 1"),
        ("wsd", {"decay_steps": 9}, "got a decay of 9 steps in a run of 8; expected 0 to 8"),
        ("wsd", {"warmup_steps": 5, "decay_steps": 5}, "a warm-up of 5 and a decay of 5 steps in"),
    ],
)
def test_courses_that_do_not_fit_are_refused(name, course, named):
    with pytest.raises(UserError, match=named):
        create_schedule(name, Course(1.0, 8, **course))


def test_rates_are_the_same_inside_another_computation():
    # The step computes the rate among other things: the same bits as alone, at any length.
    def update(rate):
        return jax.jit(lambda count, x: x - rate(count) * x)

    shorter, longer = (create_schedule("wsd", Course(0.3, n, 7, 20)) for n in (90, 140))
    x = jnp.linspace(0.1, 3.0, 97)
    for count in (0, 6, 7, 40, 69):
        np.testing.assert_array_equal(update(shorter)(count, x), update(longer)(count, x))
