import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.analysis.geometry import (
    geometry_of,
    mean_cosine,
    norm_by_frequency,
    partition_isotropy,
    positions_of,
    segments_of,
    spectrum_of,
)
from bert_jax.analysis.representation import variance_shares
from bert_jax.analysis.token_rows import KINDS, kinds_of


def axes(width):
    """Rows at ± each axis: as round as 2 · width rows can be."""
    return np.concatenate([np.eye(width), -np.eye(width)])


def test_a_round_cloud():
    rows = axes(4)
    found = geometry_of(rows, spectrum_of(rows))
    assert found.norms.tolist() == [1] * 8
    assert found.isotropy == pytest.approx(1)
    assert found.effective_rank == pytest.approx(4)
    assert found.common_share == pytest.approx(0)
    # Each row meets its opposite at -1 and six others at 0.
    assert found.mean_cosine == pytest.approx(-1 / 7)


def test_a_cloud_round_a_common_part():
    rows = axes(4) + np.array([3.0, 0, 0, 0])
    found = geometry_of(rows, spectrum_of(rows))
    assert found.common_share == pytest.approx(9 / 10)
    assert found.mean_cosine > 0.8
    assert found.mean_cosine_centred == pytest.approx(-1 / 7)
    assert found.isotropy < 0.01


def test_isotropy_is_the_papers_formula_with_both_signs():
    rows = np.random.default_rng(0).standard_normal((50, 3)) + 0.3
    vectors = np.linalg.eigh(rows.T @ rows)[1]
    z = [np.exp(rows @ (sign * c)).sum() for c in vectors.T for sign in (1, -1)]
    assert partition_isotropy(rows, block=7) == pytest.approx(min(z) / max(z))


@given(st.integers(2, 30), st.integers(1, 5), st.integers(0, 99))
def test_the_mean_cosine_is_that_of_all_pairs(count, width, seed):
    rows = np.random.default_rng(seed).standard_normal((count, width)) + 0.5
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = (units @ units.T)[~np.eye(count, dtype=bool)]
    assert mean_cosine(rows) == pytest.approx(pairs.mean(), abs=1e-5)


def test_the_spectrum_of_known_axes():
    rows = np.array([[3, 0], [-3, 0], [0, 1], [0, -1]]) + np.array([7, 8])
    found = spectrum_of(rows.astype(float), block=3)
    np.testing.assert_allclose(found.mean, [7, 8])
    np.testing.assert_allclose(found.variances, [4.5, 0.5])
    np.testing.assert_allclose(found.explained, [0.9, 0.1])
    assert found.effective_rank == pytest.approx(np.exp(-0.9 * np.log(0.9) - 0.1 * np.log(0.1)))
    np.testing.assert_allclose(found.project(rows, 1)[:, 0], [3, -3, 0, 0], atol=1e-6)


def test_lengths_in_bins_of_frequency():
    found = norm_by_frequency(np.array([9.0, 4, 3, 2, 1]), np.array([0, 1, 2, 3, 9]))
    assert found.edges.tolist() == [1, 2, 4, 8, 16]
    assert found.sizes.tolist() == [1, 2, 0, 1]
    np.testing.assert_array_equal(found.medians, [4, 2.5, np.nan, 1])
    assert found.unseen == 9
    assert (found.agreement.rho, found.agreement.pairs, found.agreement.of) == (-1, 4, 5)


def test_what_pieces_are():
    pieces = ["[CLS]", "[unused7]", "cat", "##s", "##", "1984", "é", "!", "c++", "[x]"]
    assert [KINDS[i] for i in kinds_of(pieces)] == [
        "special", "unused", "word", "continuation", "other", "number", "single character",
        "single character", "other", "other",
    ]  # fmt: skip


def test_positions_on_a_circle_have_the_circles_period():
    angle = 2 * np.pi * np.arange(64)[:, None] / 16
    found = positions_of(np.hstack([np.cos(angle), np.sin(angle)]))
    assert found.strongest_period == 16
    assert found.power.max() == pytest.approx(1)
    np.testing.assert_allclose(found.decay[[0, 4, 8, 16]], [1, 0, -1, 1], atol=1e-6)
    assert found.half_distance == 3  # cos(2π · 3/16) = 0.38, cos(2π · 2/16) = 0.71
    np.testing.assert_allclose(found.norms, 1)


def test_the_powers_of_even_and_odd_tables_add_up():
    for length in (2, 7, 8):
        table = np.random.default_rng(length).standard_normal((length, 3))
        found = positions_of(table)
        assert found.power.sum() == pytest.approx(1)
        assert found.periods[0] == length


def test_segments_at_a_right_angle():
    found = segments_of(np.array([[3.0, 0, 0], [0, 4, 0]]))
    assert found.norms.tolist() == [3, 4]
    np.testing.assert_allclose(found.angles, [[0, 90], [90, 0]], atol=1e-5)
    assert found.difference.tolist() == [-3, 4, 0]
    assert found.difference_norm == 5
    assert found.dimensions.tolist() == [1, 0, 2]
    assert found.half_in == 1  # 16 of 25


def test_a_model_with_one_segment_has_no_difference():
    found = segments_of(np.array([[3.0, 4]]))
    assert (found.norms.tolist(), found.difference_norm, found.half_in) == ([5], 0, 0)


def test_shares_of_independent_parts_are_those_of_their_variances():
    token, segment, position = (
        np.array(list(np.ndindex(2, 2, 2)), float)[:, i : i + 1] * scale
        for i, scale in enumerate((3, 1, 2))
    )
    found = variance_shares(token, segment, position)
    assert (found.token, found.segment, found.position) == pytest.approx((9 / 14, 1 / 14, 4 / 14))


def test_a_part_that_undoes_another_has_a_negative_share():
    token = np.array([[0.0], [2], [4]])
    found = variance_shares(token, np.zeros((3, 1)), -token / 2)
    assert (found.token, found.segment, found.position) == pytest.approx((2, 0, -1))
