"""What merging a pair of pieces is worth: the gain in likelihood, and a bound that outlives it.

Under a unigram model of pieces, a text of N pieces in which piece u occurs c_u times has the
maximal log-likelihood (in nats), with f(x) = x ln x,

    Σ c_u ln(c_u / N)  =  Σ f(c_u) − f(N).

Replacing n occurrences of the pair (a, b) by the piece "ab", which occurs m times already, changes
c_a, c_b, m and N, and nothing else; so what the text gains is a difference of at most four terms.

Schuster & Nakajima, "Japanese and Korean voice search", ICASSP 2012; Wu et al., arXiv:1609.08144.

The functions here are plain Python. The reference learner calls them as they stand; the compiled
learner compiles these same functions, so both add the same float64 terms in the same order (numba
calls the same `log` of the C library, and fuses no multiplication with an addition unless asked).
Ties between gains, equal to the last bit, therefore fall the same way in both.
"""

import math

import numpy as np

from bert_jax.text.compiled import shared


@shared
def x_log_x(count: int, table: np.ndarray) -> float:
    """Return f(x) = x ln x, with f(0) = 0; read from the table as far as it goes."""
    if count < len(table):
        return table[count]
    return count * math.log(count)


def x_log_x_table(size: int) -> np.ndarray:
    """Return f(0) … f(size − 1), float64: the very numbers that computing them anew would give."""
    nothing = np.zeros(1)
    return np.array([x_log_x(count, nothing) for count in range(size)])


@shared
def likelihood_gain(
    n: int, merged: int, left: int, right: int, same: bool, total: int, table: np.ndarray
) -> float:
    """Return the gain in log-likelihood (nats) of merging a pair, exactly.

    Args:
        n: occurrences of the pair that a merge replaces; for (a, a), Σ ⌊run / 2⌋.
        merged: occurrences of the merged string as a piece of its own (0 if it is none).
        left: occurrences of the left piece.
        right: occurrences of the right piece (for (a, a): the same number again).
        same: whether left and right are the same piece.
        total: pieces in the whole text, N.
        table: f(0), f(1), … as far as it pays to keep them.
    """
    gain = x_log_x(merged + n, table) - x_log_x(merged, table)
    if same:
        gain += x_log_x(left - 2 * n, table) - x_log_x(left, table)
    else:
        # The sum of the two is formed first, so (a, b) and (b, a) with equal counts tie exactly.
        gain += (x_log_x(left - n, table) - x_log_x(left, table)) + (
            x_log_x(right - n, table) - x_log_x(right, table)
        )
    return gain + (x_log_x(total, table) - x_log_x(total - n, table))


@shared
def gain_bound(
    n: int,
    merged: int,
    left_floor: int,
    right_floor: int,
    same: bool,
    total: int,
    table: np.ndarray,
) -> float:
    """Return a number that no later gain of the pair exceeds, as long as that gain is positive.

    It holds while n and `merged` do not rise above what is given here, and the counts of the two
    pieces do not fall below their floors. `total` only ever falls. Why:

    * the gain falls as c_a or c_b rises, and rises with m and N: put the floors and today's m, N;
    * c_a is never under n (twice n for (a, a)), so c_a = max(n, floor) will do;
    * with these in place, let n fall. As long as n is under both floors the bound is convex in n
      and 0 at n = 0, so it is at most max(0, today's); over a floor it grows with n, because
      2n ≤ N (5n ≤ N for (a, a); beyond that the bound is infinite, which concerns two pairs).

    The arguments are those of `likelihood_gain`, the floors in the places of the counts.
    """
    if same:
        if 5 * n > total:
            return math.inf
        floor = max(2 * n, left_floor)
        return likelihood_gain(n, merged, floor, floor, True, total, table)
    left, right = max(n, left_floor), max(n, right_floor)
    return likelihood_gain(n, merged, left, right, False, total, table)


@shared
def rounding_error(total: int) -> float:
    """Return more than float64 rounding can part two values of the same gain (total: N).

    A gain sums eight terms, none above f(N), each right to two units in its last place: its error
    stays under 32 · 2⁻⁵² · f(N). The bound has the same error, hence twice that; 2⁻⁴⁶ is 64 · 2⁻⁵².
    """
    return 2.0**-46 * (total * math.log(total + 1.0) + 1.0)
