import numpy as np

from bert_jax.analysis.neighbours import nearest_rows

# Four directions round a common part far from the origin, and one row near the first.
TABLE = np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [1, 0.1]]) + 100.0


def test_the_common_part_is_taken_off():
    found = nearest_rows(TABLE, np.array([0, 2]), k=2)
    assert found.ids[0].tolist() == [4, 1]
    assert found.ids[1][0] in (1, 3)
    assert found.cosines[0][0] > 0.9


def test_a_row_is_no_neighbour_of_itself_and_candidates_are_kept_to():
    found = nearest_rows(TABLE, np.array([0]), k=9, candidates=np.array([0, 1, 3]))
    assert sorted(found.ids[0].tolist()) == [1, 3]
