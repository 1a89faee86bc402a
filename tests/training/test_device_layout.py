"""Where devices stand in the mesh, for a run and for a plan of it, and whose rows are whose."""

import itertools
import socket
import subprocess
import sys
from dataclasses import dataclass

import jax
import numpy as np
import pytest

from bert_jax.training.processes import host_rows
from bert_jax.training.sharding import create_mesh
from launch import compiling
from launch.machines import parse_topology


@dataclass(frozen=True)
class Chip:
    """What jax says of a TPU, or of a GPU."""

    id: int
    process_index: int
    coords: tuple[int, int, int]
    platform: str = "tpu"
    device_kind: str = "TPU v5 lite"
    core_on_chip: int = 0


def v5e(columns, rows):
    """The chips of a v5e slice in jax's order: hosts of 2 x 2, one after the other."""
    chips = [
        Chip(y * columns + x, y // 2 * (columns // 2) + x // 2, (x, y, 0))
        for y in range(rows)
        for x in range(columns)
    ]
    return sorted(chips, key=lambda chip: (chip.process_index, chip.id))


def ids(mesh):
    """The numbers of the devices of one slice, by data, fsdp and tensor."""
    (planes,) = mesh.devices
    return [[[device.id for device in row] for row in plane] for plane in planes]


def test_simulated_devices_stand_in_their_order():
    devices = jax.devices()[:8]
    mesh = create_mesh({"data": 2, "fsdp": 2, "tensor": 2}, devices)
    assert mesh.devices.tolist() == np.asarray(devices).reshape(1, 2, 2, 2).tolist()
    back = create_mesh({"data": -1, "tensor": 2}, devices[::-1])
    assert back.devices.tolist() == np.asarray(devices[::-1]).reshape(1, 4, 1, 2).tolist()


def test_gpus_stand_in_the_order_of_their_numbers():
    gpus = [Chip(i, i // 2, (0, 0, 0), "gpu", "NVIDIA H100 80GB HBM3") for i in range(4)]
    assert ids(create_mesh({"data": 2, "tensor": 2}, gpus)) == [[[0, 1]], [[2, 3]]]


def test_tpus_stand_as_on_their_torus():
    # jax lists 0 1 4 5 (one host's), 2 3 6 7, …; a tensor group is a row of the torus.
    chips = v5e(4, 4)
    assert [chip.id for chip in chips[:4]] == [0, 1, 4, 5]
    assert ids(create_mesh({"data": -1, "tensor": 4}, chips)) == [
        [[0, 1, 2, 3]], [[4, 5, 6, 7]], [[8, 9, 10, 11]], [[12, 13, 14, 15]],
    ]  # fmt: skip


@pytest.mark.parametrize("axes", [{"data": 16}, {"fsdp": 16}, {"data": 8}])
def test_neighbours_in_a_ring_are_neighbours_by_wire(axes):
    chips = v5e(4, 4)[: np.prod(list(axes.values()))]
    mesh = create_mesh(axes, chips)
    ring = [np.array(device.coords) for device in mesh.devices.reshape(-1)]
    assert all(np.abs(a - b).sum() == 1 for a, b in itertools.pairwise(ring))


@pytest.mark.parametrize("axes", [{"data": 16}, {"data": 8, "tensor": 2}, {"fsdp": 4, "tensor": 4}])
def test_the_plan_lays_out_as_the_run_does(monkeypatch, axes):
    chips = v5e(4, 4)
    monkeypatch.setattr(compiling, "_tpus", lambda topology: chips)
    monkeypatch.setattr(jax, "devices", lambda: chips)
    topology = parse_topology("v5e:4x4")
    assert compiling._mesh(topology, axes) == create_mesh(axes)


def rows_of_hosts(monkeypatch, mesh, hosts, batch_size):
    rows = []
    for host in range(hosts):
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        rows.append(host_rows(batch_size, mesh).tolist())
    return rows


def test_a_host_reads_the_rows_of_its_square_of_the_torus(monkeypatch):
    mesh = create_mesh({"data": 4, "tensor": 4}, v5e(4, 4))
    # Rows 0 and 1 lie on the chips 0 to 3, the first two of host 0 and the others of host 1.
    assert rows_of_hosts(monkeypatch, mesh, 4, 8) == [
        [0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7], [4, 5, 6, 7],
    ]  # fmt: skip


def test_a_host_may_have_rows_that_are_not_consecutive(monkeypatch):
    mesh = create_mesh({"data": 64}, v5e(8, 8))
    rows = rows_of_hosts(monkeypatch, mesh, 16, 64)
    assert rows[:2] == [[0, 1, 8, 9], [16, 17, 24, 25]]
    assert sorted(np.concatenate(rows)) == list(range(64))


PROCESS = """
import sys
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from bert_jax.training.processes import host_rows, join_processes
from bert_jax.training.sharding import create_mesh, put_batch

jax.config.update("jax_num_cpu_devices", 2)
join_processes(sys.argv[1], 2, int(sys.argv[2]))
a, b, c, d = jax.devices()
mesh = create_mesh({"data": 4}, [a, c, b, d])
rows = host_rows(8, mesh)
batch = put_batch({"row": rows.astype(np.int32)}, mesh)["row"]
everywhere = jax.jit(lambda x: x + 0, out_shardings=NamedSharding(mesh, P()))(batch)
print("\\n", rows.tolist(), np.asarray(everywhere.addressable_data(0)).tolist())
"""


def test_rows_arrive_where_they_belong_when_hosts_take_turns():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, address, str(i)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    printed = [process.communicate(timeout=120) for process in running]
    whole = list(range(8))
    for (out, err), rows in zip(printed, ([0, 1, 4, 5], [2, 3, 6, 7]), strict=True):
        assert out.split("\n")[-2].strip() == f"{rows} {whole}", err
