"""Where arrays live: the mesh, and one table of rules from parameter names to partitions.

The mesh has three axes. `data` replicates the parameters and splits the batch; `fsdp` splits the
batch and the parameters; `tensor` splits heads, feed-forward and vocabulary rows.

            data:2,fsdp:2,tensor:2         batch rows   token table rows
    d0 f0 t0   d0 f0 t1                      0 0           0 1
    d0 f1 t0   d0 f1 t1                      1 1           2 3
    d1 f0 t0   d1 f0 t1                      2 2           0 1
    d1 f1 t0   d1 f1 t1                      3 3           2 3

Models know nothing of this: XLA's partitioner carries the placement of parameters and batch
through the step.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from bert_jax.errors import UserError
from bert_jax.kernels.splash_attention import Kernel

AXES = ("data", "fsdp", "tensor")
BATCH = P(("data", "fsdp"))  # the leading axis of every array of a batch

DeviceBatch = dict[str, jax.Array]
"""Arrays by name, rows split over the devices: what `put_batch` makes of a batch."""

# First match wins. Kernels are [in, out].
# The token table is split by rows only: with P('tensor', 'fsdp') XLA computes a wrong gradient for
# the MLM transform on a 2 x 2 x 2 mesh, beside a right loss (tests/training/test_sharding.py).
RULES: tuple[tuple[str, P], ...] = (
    (r"embeddings/token/table", P(("tensor", "fsdp"), None)),
    (r"mlm/decoder", P(("tensor", "fsdp"), None)),
    (r"attention/(query|key|value)/kernel", P("fsdp", "tensor")),
    (r"attention/output/kernel", P("tensor", "fsdp")),
    (r"feed_forward/up/kernel", P("fsdp", "tensor")),
    (r"feed_forward/down/kernel", P("tensor", "fsdp")),
    (r"kernel|table", P("fsdp", None)),
    (r"", P()),
)


def create_mesh(axes: Mapping[str, int], devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh `data × fsdp × tensor` over `devices` (default: all of them).

    Args:
        axes: size by axis name; absent axes are 1; one axis may be -1, "all that are left".

    Raises:
        UserError: an unknown axis, or sizes whose product is not the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    unknown = set(axes) - set(AXES)
    if unknown:
        raise UserError(f"got mesh axis {sorted(unknown)[0]!r}; expected {', '.join(AXES)}")
    sizes = [axes.get(axis, 1) for axis in AXES]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = max(len(devices) // -math.prod(sizes), 1)
    if min(sizes) < 1 or math.prod(sizes) != len(devices):
        shape = " x ".join(f"{axis}:{size}" for axis, size in zip(AXES, sizes, strict=True))
        raise UserError(
            f"got mesh {shape}; expected sizes whose product is the number of devices,"
            f" {len(devices)}"
        )
    # Auto: XLA's partitioner decides what lies between the arrays placed by the rules.
    return Mesh(np.asarray(devices).reshape(sizes), AXES, axis_types=(AxisType.Auto,) * 3)


def parse_mesh(text: str) -> dict[str, int]:
    """`data:4,fsdp:2` → {"data": 4, "fsdp": 2}; the empty text puts all devices on `data`."""
    if not text:
        return {"data": -1}
    axes = {}
    for part in text.split(","):
        match = re.fullmatch(r"(\w+):(-1|\d{1,9})", part.strip())
        if not match:
            raise UserError(f"got mesh {text!r}; expected axis:size pairs, as in data:4,fsdp:2")
        axes[match[1]] = int(match[2])
    return axes


def path_name(path: tuple[Any, ...]) -> str:
    """A pytree path as text: `encoder/layers/0/attention/query/kernel`."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def place(tree: Any, mesh: Mesh) -> Any:
    """The sharding of every leaf of `tree`, by its name and shape.

    Works for parameters and for optimiser state, whose leaves carry their parameter's name. An
    axis that a dimension cannot be divided by is left out, and scalars are replicated.
    """

    def sharding(path, leaf) -> NamedSharding:
        name = path_name(path)
        spec = next(spec for pattern, spec in RULES if re.search(pattern, name))
        axes = [
            axis if size % _axis_size(axis, mesh) == 0 else None
            for axis, size in zip(spec, leaf.shape, strict=False)
        ]
        return NamedSharding(mesh, P(*axes))

    return jax.tree_util.tree_map_with_path(sharding, tree)


def _axis_size(axis: str | tuple[str, ...] | None, mesh: Mesh) -> int:
    names = (axis,) if isinstance(axis, str) else axis or ()
    return math.prod(mesh.shape[name] for name in names)


def batch_ways(mesh: Mesh) -> int:
    """How many pieces a batch's rows are cut into."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def over_rows_and_heads(mesh: Mesh, heads: int) -> Callable[[Kernel], Kernel]:
    """How an attention kernel is spread: each device its own rows and heads, nothing is sent.

    For `splash_attention.attend`, since XLA's partitioner does not look into kernels. `heads` that
    the tensor axis does not divide are computed by each of its devices.
    """
    tensor = "tensor" if heads % mesh.shape["tensor"] == 0 else None
    states = P(BATCH[0], None, tensor, None)  # [B, L, N, H]

    def place(kernel: Kernel) -> Kernel:
        return jax.shard_map(
            kernel,
            mesh=mesh,
            in_specs=(states, states, states, BATCH),
            out_specs=states,
            check_vma=False,  # a kernel does not say what varies over the mesh
        )

    return place


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> DeviceBatch:
    """A host batch (this process's rows) as global arrays, rows split over data and fsdp."""
    sharding = NamedSharding(mesh, BATCH)
    return {
        name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }
