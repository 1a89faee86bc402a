import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bert_jax.kernels.dropout import dropout, dropout_seed, keep_mask

SHAPE = (8, 4, 64, 64)
N = 8 * 4 * 64 * 64
mask_of = jax.jit(keep_mask, static_argnums=(1, 2))


def seed_of(number):
    return dropout_seed(nnx.Rngs(number), 0.1)


@pytest.fixture(scope="module", params=[0, 1, 12345])
def mask(request):
    return np.asarray(mask_of(seed_of(request.param), 0.1, SHAPE))


def z_of(hits, trials, p):
    """How many standard deviations a count lies from its mean."""
    return (hits - trials * p) / np.sqrt(trials * p * (1 - p))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_dropped_is_the_rate(rate):
    dropped = ~np.asarray(mask_of(seed_of(7), rate, SHAPE))
    assert abs(z_of(dropped.sum(), N, rate)) < 4.5


def test_every_slice_along_every_axis_has_the_rate(mask):
    for axis in range(4):
        counts = np.moveaxis(~mask, axis, 0).reshape(mask.shape[axis], -1)
        z = z_of(counts.sum(1), counts.shape[1], 0.1)
        assert np.abs(z).max() < 4.5, axis
        assert len(z) < 32 or 0.5 < (z**2).mean() < 1.7, axis


def test_neighbours_at_any_distance_are_independent(mask):
    flat = ~mask.reshape(-1)
    for lag in [1, 2, 3, 4, 5, 7, 8, 16, 17, 31, 32, 63, 64, 65, 128, 4095, 4096, 16384, 65536]:
        both = np.sum(flat[lag:] & flat[:-lag])
        assert abs(z_of(both, N - lag, 0.01)) < 5, lag


def test_short_runs_are_as_frequent_as_chance_has_it():
    dropped = ~np.asarray(mask_of(seed_of(3), 0.5, (1024, 512)))
    words = np.packbits(dropped.reshape(-1, 8), axis=1).reshape(-1)
    counts = np.bincount(words, minlength=256)
    expected = words.size / 256
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert 255 - 5 * np.sqrt(510) < chi_square < 255 + 5 * np.sqrt(510)


def test_masks_of_different_keys_are_independent():
    rngs = nnx.Rngs(0)
    masks = [~np.asarray(mask_of(dropout_seed(rngs, 0.1), 0.1, SHAPE)) for _ in range(6)]
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert abs(z_of(np.sum(a & b), N, 0.01)) < 5


def test_rows_are_independent(mask):
    rows = ~mask.reshape(8, -1)
    for i in range(8):
        for j in range(i):
            assert abs(z_of(np.sum(rows[i] & rows[j]), rows.shape[1], 0.01)) < 5


def test_the_same_key_gives_the_same_mask_and_another_key_another():
    a, b, c = (mask_of(seed_of(s), 0.1, (16, 16)) for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_more_rows_leave_the_first_ones_as_they_are():
    few, many = mask_of(seed_of(0), 0.1, (2, 32)), mask_of(seed_of(0), 0.1, (4, 32))
    np.testing.assert_array_equal(few, many[:2])


def test_what_is_kept_is_scaled_and_gradients_pass_the_same_mask():
    x = jnp.full((4, 8), 3.0)
    seed = seed_of(0)
    keep = keep_mask(seed, 0.25, x.shape)
    np.testing.assert_allclose(dropout(x, 0.25, seed), jnp.where(keep, 4.0, 0.0))
    gradient = jax.grad(lambda x: dropout(x, 0.25, seed).sum())(x)
    np.testing.assert_allclose(gradient, jnp.where(keep, 4 / 3, 0.0), rtol=1e-6)


def test_no_rngs_or_no_rate_drops_nothing():
    assert dropout_seed(None, 0.1) is None
    assert dropout_seed(nnx.Rngs(0), 0.0) is None
    x = jnp.ones((2, 2))
    assert dropout(x, 0.1, None) is x


def test_every_device_layout_drops_the_same_elements():
    from jax.sharding import Mesh, NamedSharding
    from jax.sharding import PartitionSpec as P

    mesh = Mesh(np.array(jax.devices()[:8]).reshape(4, 2), ("a", "b"))
    x = jnp.ones((8, 4, 16, 16))
    drop = jax.jit(lambda x, seed: dropout(x, 0.3, seed))
    want = drop(x, seed_of(0))
    for spec in (P("a"), P(("a", "b")), P(None, "a", "b"), P(None, None, None, ("a", "b"))):
        got = drop(jax.device_put(x, NamedSharding(mesh, spec)), seed_of(0))
        np.testing.assert_array_equal(got, want)
