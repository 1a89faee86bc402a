"""Learning-rate schedules: linear warm-up, then polynomial decay."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from bert_jax.errors import UserError


def warmup_polynomial(
    peak: float, steps: int, warmup_steps: int, power: float = 1.0, end: float = 0.0
) -> optax.Schedule:
    """Rise linearly to `peak`, then decay as (1 - progress)^power to `end` at `steps`.

    The first update already has the rate peak / warmup_steps, not zero: no step is wasted.

        rate  peak ┤    ╱╲
                   │  ╱    ╲          power 1: the published linear decay
               end ┤╱        ╲
                   └──────────── step
                     warmup   steps

    Args:
        peak: the highest rate.
        steps: updates in the whole run.
        warmup_steps: updates that rise; 0 starts at `peak`.
        power: 1 is linear, 2 quadratic.
        end: the rate after the last update.

    Raises:
        UserError: warm-up longer than the run, or a negative number.

    Source: Devlin et al. 2018, appendix A.2.
    """
    if not 0 <= warmup_steps <= steps:
        raise UserError(
            f"got a warm-up of {warmup_steps} steps in a run of {steps}; expected 0 to {steps}"
        )
    if peak < 0 or end < 0 or power < 0:
        raise UserError(
            f"got peak={peak}, end={end}, power={power}; expected none of them negative"
        )

    def rate(count):  # count: updates applied so far
        count = jnp.asarray(count, jnp.float32)
        rising = peak * (count + 1) / max(warmup_steps, 1)
        left = (steps - count) / max(steps - warmup_steps, 1)
        falling = end + (peak - end) * jnp.clip(left, 0.0, 1.0) ** power
        return jnp.where(count < warmup_steps, rising, falling)

    return rate
