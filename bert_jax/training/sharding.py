"""Where arrays live: the mesh, and one table of rules from parameter names to partitions.

The mesh has four axes. `data` replicates the parameters and splits the batch; `fsdp` splits the
batch and the parameters; `tensor` splits heads, feed-forward and vocabulary rows. `dcn` does what
`data` does, over slices of TPUs, which the data center's network joins.

            data:2,fsdp:2,tensor:2         batch rows   token table rows
    d0 f0 t0   d0 f0 t1                      0 0           0 1
    d0 f1 t0   d0 f1 t1                      1 1           2 3
    d1 f0 t0   d1 f0 t1                      2 2           0 1
    d1 f1 t0   d1 f1 t1                      3 3           2 3

`create_mesh` lays devices out for a run and for a plan of one (`launch.compile_only`).

Models know nothing of this: XLA's partitioner carries the placement of parameters and batch
through the step.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from bert_jax.errors import UserError
from bert_jax.kernels.attention import Kernel, Place

AXES = ("dcn", "data", "fsdp", "tensor")
COPIES = ("dcn", "data")  # the axes whose parts each hold all parameters
BATCH = P((*COPIES, "fsdp"))  # the leading axis of every array of a batch

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
    """A mesh `dcn × data × fsdp × tensor` over `devices` (default: all of them).

    On TPUs neighbours on the mesh are neighbours on the torus, tensor's first, so that a process's
    devices need not be side by side; elsewhere devices keep their order.

    Args:
        axes: size by axis name; absent axes are 1, but `dcn`, which is the number of slices; one
            axis may be -1, "all that are left".

    Raises:
        UserError: an unknown axis, sizes whose product is not the number of devices, or another
            `dcn` than there are slices.
    """
    devices = jax.devices() if devices is None else devices
    unknown = set(axes) - set(AXES)
    if unknown:
        raise UserError(f"got mesh axis {sorted(unknown)[0]!r}; expected {', '.join(AXES)}")
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    sizes = [axes.get(axis, slices if axis == "dcn" else 1) for axis in AXES]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = max(len(devices) // -math.prod(sizes), 1)
    if min(sizes) < 1 or math.prod(sizes) != len(devices):
        shape = " x ".join(f"{axis}:{size}" for axis, size in zip(AXES, sizes, strict=True))
        raise UserError(
            f"got mesh {shape}; expected sizes whose product is the number of devices,"
            f" {len(devices)}"
        )
    if slices == 1:  # an axis dcn of simulated slices, too
        laid_out = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    elif sizes[0] == slices:
        laid_out = mesh_utils.create_hybrid_device_mesh(
            [1, *sizes[1:]], [slices, 1, 1, 1], devices, allow_split_physical_axes=True
        )
    else:
        raise UserError(f"got mesh dcn:{sizes[0]}; expected dcn:{slices}, the number of slices")
    # Auto: XLA's partitioner decides what lies between the arrays placed by the rules.
    return Mesh(laid_out, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def parse_mesh(text: str) -> dict[str, int]:
    """`data:4,fsdp:2` → {"data": 4, "fsdp": 2}; the empty text puts all devices on `data`.

    >>> parse_mesh("data:4,fsdp:2"), parse_mesh("")
    ({'data': 4, 'fsdp': 2}, {'data': -1})
    """
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


def _axis_size(axis: Any, mesh: Mesh) -> int:
    names = (axis,) if isinstance(axis, str) else axis or ()
    return math.prod(mesh.shape[name] for name in names)


def batch_ways(mesh: Mesh) -> int:
    """How many pieces a batch's rows are cut into."""
    return _axis_size(BATCH[0], mesh)


def over_rows_and_heads(mesh: Mesh, heads: int) -> Place:
    """How an attention kernel is spread: each device its own rows and heads, nothing is sent.

    For `splash_attention.attend` and `flash_attention.attend`, since XLA's partitioner does not
    look into kernels. `heads` that the tensor axis does not divide are computed by each of its
    devices.
    """
    tensor = "tensor" if heads % mesh.shape["tensor"] == 0 else None
    states = P(BATCH[0], None, tensor, None)  # [B, L, N, H], and whatever else has four axes

    def place(kernel: Kernel) -> Kernel:
        def spread(*arrays: jax.Array) -> jax.Array:
            return jax.shard_map(
                kernel,
                mesh=mesh,
                in_specs=tuple(states if x.ndim == 4 else BATCH for x in arrays),
                out_specs=states,
                check_vma=False,  # a kernel does not say what varies over the mesh
            )(*arrays)

        return spread

    return place


def copies_of_tables(mesh: Mesh) -> Callable[[jax.Array], jax.Array] | None:
    """How to give each part of the data axes its own copy of the token table; None: it has one.

    A copy is where the table was, so that nothing is sent: [V, D] becomes [dcn x data, V, D].
    """
    copies = _axis_size(COPIES, mesh)
    if copies == 1:
        return None
    where = NamedSharding(mesh, P(COPIES, *RULES[0][1]))

    def copy(table: jax.Array) -> jax.Array:
        made = jnp.broadcast_to(table, (copies, *table.shape))
        return jax.lax.with_sharding_constraint(made, where)

    return copy


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> DeviceBatch:
    """A host batch (this process's rows) as global arrays, rows split over data and fsdp."""
    sharding = NamedSharding(mesh, BATCH)
    return {
        name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }
