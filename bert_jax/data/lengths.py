"""Few row lengths that waste little: every length a batch may have is a compilation."""

import numpy as np


def choose_lengths(
    sequence_lengths: np.ndarray, batch_size: int, *, waste: float = 0.03, most: int = 12
) -> tuple[int, ...]:
    """Choose the lengths of rows for batches of sequences that are sorted by length.

    The fewest lengths that pad batches by at most `waste` of their tokens, and of all ways to
    choose so many the one that pads least (dynamic programming over the batches' own lengths).

    Args:
        sequence_lengths: tokens of each sequence.
        batch_size: sequences of a batch.
        waste: share of padding that is allowed, beside what sequences of a batch differ by.
        most: the most lengths; the padding is then what it is.

    Returns:
        Ascending lengths; the last is that of the longest sequence.
    """
    ordered = np.sort(sequence_lengths)[::-1]
    values, counts = np.unique(ordered[::batch_size], return_counts=True)
    # padding[i, j]: of the batches of lengths i … j, where all are padded to length j.
    tokens, batches = (np.concatenate([[0], np.cumsum(x)]) for x in (values * counts, counts))
    i, j = np.meshgrid(np.arange(len(values)), np.arange(len(values)), indexing="ij")
    padding = values[j] * (batches[j + 1] - batches[i]) - (tokens[j + 1] - tokens[i])
    padding = np.where(i <= j, padding, np.iinfo(np.int64).max // 4)
    best = padding[0]  # with one length, for all batches up to j
    choices: list[np.ndarray] = []
    while best[-1] > waste * tokens[-1] and len(choices) + 1 < min(most, len(values)):
        both = np.concatenate([[0], best[:-1]])[:, None] + padding
        choices.append(np.argmin(both, axis=0))
        best = np.min(both, axis=0)
    chosen = [len(values) - 1]
    for begins in reversed(choices):
        if chosen[-1] < 0:
            break
        chosen.append(int(begins[chosen[-1]]) - 1)
    return tuple(int(values[c]) for c in reversed(chosen) if c >= 0)
