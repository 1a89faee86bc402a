import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.analysis import nearest
from bert_jax.analysis.nearest import RowIndex, nearest_rows, nearest_to
from bert_jax.analysis.nearest_of_all import all_neighbours

# Four directions round a common part far from the origin, and one row near the first.
TABLE = np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [1, 0.1]]) + 100.0


def test_the_common_part_is_taken_off():
    found = nearest_rows(TABLE, np.array([0, 2]), k=2)
    # Seen from the mean row, (.2, .02) from the common part, the rows are
    # (.8, -.02), (-.2, .98), (-1.2, -.02), (-.2, -1.02), (.8, .08).
    assert found.ids.tolist() == [[4, 3], [3, 1]]
    np.testing.assert_allclose(found.cosines, [[0.9922, -0.1678], [0.2087, 0.1836]], atol=5e-4)


def test_a_row_is_no_neighbour_of_itself_and_candidates_are_kept_to():
    found = nearest_rows(TABLE, np.array([0]), k=9, candidates=np.array([0, 1, 3]))
    assert sorted(found.ids[0].tolist()) == [1, 3]


def test_a_vector_that_is_no_row_has_neighbours_and_excludes_what_it_is_made_of():
    between = (TABLE[0] + TABLE[1]) / 2
    assert nearest_to(TABLE, between[None], 2).ids.tolist() == [[1, 4]]
    found = nearest_to(TABLE, between[None], 2, excluded=np.array([[1, -1]]))
    assert found.ids.tolist() == [[4, 0]]


def test_an_index_answers_as_often_as_it_is_asked():
    index = RowIndex(TABLE)
    for _ in range(2):
        assert index.nearest_rows(np.array([0, 2]), 2).ids.tolist() == [[4, 3], [3, 1]]
        between = (TABLE[0] + TABLE[1]) / 2
        assert index.nearest_to(between[None], 2, np.array([[1, -1]])).ids.tolist() == [[4, 0]]
    np.testing.assert_allclose(index.centre, [100.2, 100.02])


def by_hand(table, k, candidates, excluded):
    """Of each row the cosines of its neighbours, in float64, as many as it has."""
    rows = np.asarray(table, np.float64) - table.mean(axis=0, dtype=np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [
        -np.sort([-(row @ rows[c]) for c in candidates if c not in barred])[:k]
        for row, barred in zip(rows, excluded, strict=True)
    ]


def same(found, wanted, candidates, excluded):
    for query, (cosines, barred) in enumerate(zip(wanted, excluded, strict=True)):
        near = found.of(query)
        np.testing.assert_allclose([cosine for _, cosine in near], cosines, atol=1e-5)
        ids = [row for row, _ in near]
        assert len(set(ids)) == len(ids) and set(ids) <= set(candidates.tolist()) - set(barred)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(2, 70), k=st.integers(1, 80), block=st.sampled_from([1, 7, 16, 4096]),
    share=st.sampled_from([0.0, 0.3, 1.0]), seed=st.integers(0, 99),
)  # fmt: skip
def test_every_row_has_as_many_neighbours_as_there_are_candidates_for_it(
    rows, k, block, share, seed
):
    draw = np.random.default_rng(seed)
    table = draw.standard_normal((rows, 5)).astype(np.float32)
    candidates = np.sort(draw.permutation(rows)[: max(1, int(share * rows))])
    own = [[row] for row in range(rows)]
    wanted = by_hand(table, k, candidates, own)
    same(all_neighbours(table, k, candidates, block_rows=block), wanted, candidates, own)
    same(nearest_rows(table, np.arange(rows), k, candidates), wanted, candidates, own)
    excluded = draw.integers(-1, rows, (rows, 3))  # some twice, some no candidates, some nothing
    wanted = by_hand(table, k, candidates, excluded.tolist())
    same(nearest_to(table, table, k, candidates, excluded), wanted, candidates, excluded.tolist())


def test_a_query_that_is_no_candidate_loses_no_neighbour():
    found = nearest_rows(TABLE, np.array([0, 2]), k=9, candidates=np.array([1, 2, 3]))
    assert sorted(row for row, _ in found.of(0)) == [1, 2, 3]
    assert sorted(row for row, _ in found.of(1)) == [1, 3]


def test_many_queries_are_looked_up_in_blocks_with_the_same_answer(monkeypatch):
    table = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    whole = nearest_rows(table, np.arange(40), 4)
    monkeypatch.setattr(nearest, "_BLOCK_SCORES", 40 * 7)  # blocks of 7, the last one of 5
    parts = nearest_rows(table, np.arange(40), 4)
    assert parts.ids.tolist() == whole.ids.tolist()
    own = [[row] for row in range(40)]
    same(parts, by_hand(table, 4, np.arange(40), own), np.arange(40), own)


@pytest.mark.parametrize("find", [nearest_rows, lambda t, q, k: all_neighbours(t, k)])
def test_a_table_of_one_row_has_no_neighbours(find):
    assert find(np.ones((1, 3), np.float32), np.array([0]), 5).ids.shape == (1, 0)
