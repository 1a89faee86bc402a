"""What a weighted sum reads from a position table: where a row stands, which of two comes first.

The two measures of Wang & Chen 2020, "What Do Position Embeddings Learn?"
(https://arxiv.org/abs/2010.04903), as their published code takes them, and each once more without
what stands in its way:

    absolute    least squares from the row to its number, rounded; mean error in positions. Where
                four fifths of the rows are about as many as the dimensions (512 rows of 384), least
                squares fit their training rows exactly and no others: ridge regression, its
                penalty chosen on the training rows, says what is really there.
    order       logistic regression on two rows side by side: does the second come later? Its
                test pairs are of rows that other pairs have shown in training; once more over all
                pairs of rows none of which it has seen.

All over five folds. A sinusoid of the same size is the control, vectors drawn at random the floor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from bert_jax.errors import UserError

FEWEST_ROWS = 10
MOST_ROWS = 512  # as many as the paper read of each model
_FOLDS = 5
_ENOUGH = {"maxiter": 1000, "ftol": 1e-6}
_PENALTIES = np.logspace(-8, 2, 31)  # of ridge regression, by the largest squared singular value


@dataclasses.dataclass(frozen=True)
class PositionReading:
    """Errors in reading positions from L rows; of each the mean over draws of the folds.

    Attributes:
        absolute: mean |rounded - true| in positions, by least squares; the paper's. Always
            answering the middle is wrong by L / 4.
        ridge: the same by ridge regression.
        order: share of 512 (or L) random pairs put into the wrong order; the paper's. Chance: 0.5.
        order_unseen: the same over all pairs of rows that training has not seen.
        deviations: standard deviation of each of these over the draws, by its name.
    """

    absolute: float
    ridge: float
    order: float
    order_unseen: float
    deviations: dict[str, float]


def read_positions(table: np.ndarray, draws: int = 3, seed: int = 0) -> PositionReading:
    """Measure the first 512 rows of a position table [L, D], or of any other.

    Args:
        table: at least 10 rows.
        draws: how often rows are dealt into folds again, and pairs drawn.
        seed: of the draws.

    Raises:
        UserError: fewer rows.
    """
    if len(table) < FEWEST_ROWS:
        raise UserError(
            f"got a table of {len(table)} rows; expected at least {FEWEST_ROWS}, two in each fold"
        )
    table = np.asarray(table[:MOST_ROWS], np.float64)
    return _over_draws(lambda draw: table, draws, seed)


def read_random(rows: int, width: int, draws: int = 3, seed: int = 0) -> PositionReading:
    """The floor: `read_positions` of normal vectors [rows, width], drawn again each time."""
    size = min(rows, MOST_ROWS), width
    return _over_draws(lambda draw: draw.normal(size=size), draws, seed)


def sinusoid(rows: int, width: int) -> np.ndarray:
    """The control: the fixed positions of Vaswani et al. 2017, [rows, width] float64.

    Dimension 2k is sin(position / 10000^(2k / width)), dimension 2k + 1 the cosine.
    """
    rates = 10_000.0 ** (-np.arange(0, width, 2) / width)
    angles = np.arange(rows)[:, None] * rates
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(rows, -1)[:, :width]


def _over_draws(
    table_of: Callable[[np.random.Generator], np.ndarray], draws: int, seed: int
) -> PositionReading:
    found = []
    for each in np.random.SeedSequence(seed).spawn(draws):
        draw = np.random.default_rng(each)
        table = table_of(draw)
        folds = np.array_split(draw.permutation(len(table)), _FOLDS)
        absolute, ridge = _absolute_errors(table, folds)
        unseen = float(np.mean([_unseen_order_error(table, fold) for fold in folds]))
        found.append((absolute, ridge, _order_error(table, draw), unseen))
    spreads = np.std(found, axis=0, ddof=min(1, draws - 1)).tolist()
    names = [field.name for field in dataclasses.fields(PositionReading)]
    absolute, ridge, order, unseen = np.mean(found, axis=0).tolist()
    deviations = dict(zip(names, spreads, strict=False))
    return PositionReading(absolute, ridge, order, unseen, deviations)


def _absolute_errors(table: np.ndarray, folds: list[np.ndarray]) -> tuple[float, float]:
    """Mean error of least squares and of ridge regression, held-out rows only."""
    errors = []
    for fold in folds:
        train = np.setdiff1d(np.arange(len(table)), fold)
        mean, middle = table[train].mean(axis=0), train.mean()
        left, sizes, right = np.linalg.svd(table[train] - mean, full_matrices=False)
        seen = left.T @ (train - middle)
        ahead = (table[fold] - mean) @ right.T
        floor = sizes.max(initial=0) * len(table) * np.finfo(np.float64).eps
        inverse = np.divide(1, sizes, out=np.zeros_like(sizes), where=sizes > floor)
        ridge = _best_ridge(left, sizes, train - middle)
        for scale in (inverse, ridge):  # least squares: the smallest solution where there are many
            answers = np.round(ahead @ (scale * seen) + middle)
            errors.append(np.abs(answers - fold).mean())
    return float(np.mean(errors[::2])), float(np.mean(errors[1::2]))


def _best_ridge(left: np.ndarray, sizes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """What a ridge regression divides by, its penalty the best when each row is left out in turn.

    The error at a row that is left out is its residual / (1 - its leverage) (Golub et al. 1979);
    the mean, which is fitted too, has a leverage of 1 / n at every row.
    """
    largest = max(float(sizes.max(initial=0)) ** 2, 1e-300)
    best, lowest = np.zeros_like(sizes), np.inf
    for penalty in _PENALTIES * largest:
        shrunk = sizes**2 / (sizes**2 + penalty)
        leverage = np.square(left) @ shrunk + 1 / len(wanted)
        residual = wanted - left @ (shrunk * (left.T @ wanted))
        error = np.mean(np.square(residual / np.maximum(1 - leverage, 1e-12)))
        if error < lowest:
            best, lowest = sizes / (sizes**2 + penalty), error
    return best


def _order_error(table: np.ndarray, draw: np.random.Generator) -> float:
    """The paper's: as many random pairs as rows, the two side by side, in five folds of pairs."""
    length = len(table)
    pairs = draw.permutation(length**2)[:length]
    first, second = np.divmod(pairs, length)
    examples = np.column_stack([table[first], table[second], np.ones(length)])
    later = second > first
    wrong = []
    for fold in np.array_split(np.arange(length), _FOLDS):
        train = np.setdiff1d(np.arange(length), fold)
        sign = 2.0 * later[train] - 1
        free = np.arange(examples.shape[1]) == examples.shape[1] - 1  # the bias

        def loss(
            weights: np.ndarray,
            x: np.ndarray = examples[train],
            sign: np.ndarray = sign,
            free: np.ndarray = free,
        ) -> tuple[float, np.ndarray]:
            margins, plain = sign * (x @ weights), np.where(free, 0, weights)
            value = np.logaddexp(0, -margins).sum() + plain @ plain / 2
            return value, plain - x.T @ (sign * expit(-margins))

        weights = _minimum(loss, examples.shape[1])
        wrong.append(np.mean((examples[fold] @ weights > 0) != later[fold]))
    return float(np.mean(wrong))


def _unseen_order_error(table: np.ndarray, fold: np.ndarray) -> float:
    """Trained on every pair of the other rows, tested on every pair of this fold's.

    Both orders of a pair are examples, so that logistic regression weights the two rows alike but
    for the sign, and has no bias: a score for each row, and the greater comes later. The table is
    brought to mean square 1, so that the penalty, 1/2 of the squared weights beside the mean log
    loss times the rows, is the same for a table of any scale.
    """
    train = np.setdiff1d(np.arange(len(table)), fold)  # in order: the later row has the later index
    rows = (table - table[train].mean(axis=0)) / max(float(table[train].std()), 1e-300)
    x, count = rows[train], len(train)
    above = np.triu(np.ones((count, count), np.float32), 1)
    pairs = above.sum()

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = (x @ weights).astype(np.float32)  # a hundred thousand pairs: exp is the cost
        margins = scores[None] - scores[:, None]
        small = np.exp(-np.abs(margins))
        losses = np.log(1 + small) + np.maximum(-margins, 0)
        pull = above * np.where(margins > 0, small, 1) / (1 + small)  # on the later row, up
        value = count * float((above * losses).sum(dtype=np.float64) / pairs)
        slope = count / pairs * (pull.sum(axis=0, dtype=np.float64) - pull.sum(axis=1, dtype=float))
        return value + weights @ weights / 2, weights - x.T @ slope

    scores = rows[fold] @ _minimum(loss, table.shape[1])
    first, second = np.triu_indices(len(fold), 1)
    return float(np.mean((scores[second] > scores[first]) != (fold[second] > fold[first])))


def _minimum(loss: Callable[[np.ndarray], tuple[float, np.ndarray]], width: int) -> np.ndarray:
    found = minimize(loss, np.zeros(width), jac=True, method="L-BFGS-B", options=_ENOUGH)
    return np.asarray(found.x)
