import math

import numpy as np
import pytest
import scipy.stats

from bert_jax.analysis.comparison import compare_tables, moment, procrustes


def table(rows=30, width=4, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)


def turned(rows, seed=1):
    """The same shape, turned, stretched and moved."""
    rotation = scipy.stats.special_ortho_group.rvs(rows.shape[1], random_state=seed)
    return (3 * rows @ rotation + 7).astype(np.float32)


def test_a_turned_table_has_the_same_shape_and_the_same_neighbours():
    found = compare_tables(table(), turned(table()), np.arange(30), k=5)
    assert found.procrustes < 2e-3
    assert found.aligned.min() > 0.9999
    assert found.cosines.min() < 0.5
    assert found.kept.tolist() == [1.0] * 30
    assert found.gained(0).size == found.lost(0).size == 0


def test_procrustes_is_what_is_left_after_the_best_fit():
    a, b = table(seed=2), table(seed=3)
    left = scipy.spatial.procrustes(a, b)[2]  # squared, of matrices of length 1
    assert procrustes(a, b)[0] == pytest.approx(math.sqrt(left), rel=1e-4)
    assert procrustes(b, a)[0] == pytest.approx(math.sqrt(left), rel=1e-4)


def test_neighbours_gained_and_lost():
    before = np.array([[1, 0], [1, 0.1], [1, -0.2], [-1, 2], [-2, -1.9]])
    after = before[[0, 1, 3, 2, 4]]  # rows 2 and 3 change places
    found = compare_tables(before, after, np.array([0]), k=2)
    assert (found.before.tolist(), found.after.tolist()) == ([[1, 2]], [[1, 3]])
    assert (found.kept[0], found.gained(0).tolist(), found.lost(0).tolist()) == (0.5, [3], [2])


def test_tables_of_two_widths_are_compared_by_their_neighbours():
    wide = np.hstack([table(), np.zeros((30, 2), np.float32)])
    found = compare_tables(table(), wide, np.arange(30), k=3)
    assert math.isnan(found.procrustes) and np.isnan(found.cosines).all()
    assert found.kept.mean() == 1


def test_the_last_moment_of_a_run_is_at_its_end():
    embeddings = {
        "token": {"table": table()},
        "position": {"table": np.array([[0.0, 1], [1, 0], [0, -1]])},
        "segment": {"table": np.array([[1.0, 0], [1, 1]])},
    }
    found = moment(40, embeddings, table(), np.arange(9), k=3)
    assert (found.step, found.neighbours_kept) == (40, 1)
    assert found.cosine_to_last == pytest.approx(1)
    assert found.procrustes_to_last < 2e-3
    assert found.segment_angle == pytest.approx(45)
    assert found.token_norm == pytest.approx(np.linalg.norm(table(), axis=1).mean())
