import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.training.schedules import warmup_polynomial


def test_rises_then_falls_linearly():
    rate = warmup_polynomial(peak=1.0, steps=8, warmup_steps=4)
    np.testing.assert_allclose(
        [rate(i) for i in range(9)], [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    )


def test_power_and_end():
    rate = warmup_polynomial(peak=1.0, steps=4, warmup_steps=0, power=2.0, end=0.5)
    np.testing.assert_allclose([rate(0), rate(2), rate(4), rate(9)], [1.0, 0.625, 0.5, 0.5])


@pytest.mark.parametrize(("warmup", "peak"), [(9, 1.0), (-1, 1.0), (2, -1.0)])
def test_nonsense_is_refused(warmup, peak):
    with pytest.raises(UserError, match="expected"):
        warmup_polynomial(peak=peak, steps=8, warmup_steps=warmup)
