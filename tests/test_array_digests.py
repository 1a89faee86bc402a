import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from bert_jax.array_digests import digests
from bert_jax.training.sharding import create_mesh

MASK = 2**32 - 1


def by_hand(array: np.ndarray) -> str:
    """The definition, in Python's own integers."""
    size = array.dtype.itemsize
    kind = np.uint8 if array.dtype == bool else f"u{size}"
    sums = []
    for a, b in ((0x85EBCA6B, 0xC2B2AE35), (0x7FEB352D, 0x846CA68B)):
        total = 0
        for place, bits in enumerate(np.ascontiguousarray(array).view(kind).reshape(-1).tolist()):
            x = (bits + place * 0x9E3779B1) & MASK
            x = ((x ^ (x >> 16)) * a) & MASK
            x = ((x ^ (x >> 15)) * b) & MASK
            total += x ^ (x >> 16)
        sums.append(total & MASK)
    return "{:08x}{:08x}".format(*sums)


ARRAYS = st.sampled_from(["float32", "float16", "int32", "uint8", "bool"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, max_side=4))
)


@settings(deadline=None)
@given(ARRAYS)
def test_it_is_the_sum_that_the_docstring_says(array):
    assert digests({"a": {"b": array}}) == {"a/b": by_hand(array)}


@settings(deadline=None)
@given(ARRAYS.filter(lambda a: a.dtype != bool), st.data())
def test_any_flipped_bit_shows(array, data):
    damaged = array.copy()
    bytes_of = damaged.reshape(-1).view(np.uint8)
    place = data.draw(st.integers(0, len(bytes_of) - 1))
    bytes_of[place] ^= 1 << data.draw(st.integers(0, 7))
    assert digests({"x": damaged}) != digests({"x": array})


def test_swapped_elements_show_and_nothing_has_no_digest():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert digests({"x": array[::-1].copy()}) != digests({"x": array})
    assert digests({}) == {}


def test_however_an_array_is_cut_its_digest_is_the_same():
    array = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    whole = digests({"x": array})
    mesh = create_mesh({"data": 2, "fsdp": 2, "tensor": 2}, jax.devices()[:8])
    for spec in (P(), P("fsdp"), P("fsdp", "tensor"), P(("data", "fsdp", "tensor"))):
        assert digests({"x": jax.device_put(array, NamedSharding(mesh, spec))}) == whole
    assert digests({"x": jnp.asarray(array)}) == whole
    low = jnp.asarray(array, jnp.bfloat16)
    assert digests({"x": low}) == digests({"x": np.asarray(low)})
