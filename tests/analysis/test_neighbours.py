import numpy as np

from bert_jax.analysis.neighbours import nearest_rows

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
