"""Two processes, of which the first tells, sends and gathers; each says what it has."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from bert_jax.first_process import done_by_first, gathered_by_first, sent_by_first, told_by_first

TALK = """
import json, sys
import jax, ml_dtypes
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from bert_jax import first_process as first
from bert_jax.errors import DiskError, UserError
from bert_jax.training.processes import join_processes

port, number = map(int, sys.argv[1:])
join_processes(f"127.0.0.1:{port}", 2, number)
mesh = Mesh(np.asarray(jax.devices()), ("x",))
bits = np.array([0x80000000, 0x7FA00001, 0xFFC00123, 1], np.uint32)  # -0.0, NaNs, the least number
arrays = {
    "float": bits.view(np.float32), "half": bits.astype(np.uint16).view(ml_dtypes.bfloat16),
    "bool": np.array([True, False]), "scalar": np.float32(-0.0).reshape(()), "int": bits,
}
split = {name: P("x") if array.ndim else P() for name, array in arrays.items()}
like = {
    name: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=NamedSharding(mesh, split[name]))
    for name, array in arrays.items()
}
told = first.told_by_first("number", lambda: {"number": number, "none": None})
done = first.done_by_first("thing", object)
sent = first.sent_by_first(arrays if number == 0 else None, like)
back = first.gathered_by_first(sent)

def refuse():
    raise DiskError("got a full disk")

try:
    first.told_by_first("room", refuse)
except UserError as error:
    refused = [type(error).__name__, str(error)]
with first.first_before_others("end") as after:
    after()
print(json.dumps({
    "told": told,
    "done": done is not None,
    "same": {
        name: back[name].tobytes() == array.tobytes() and back[name].dtype == array.dtype
        for name, array in arrays.items() if number == 0
    },
    "none": all(back[name] is None for name in arrays),
    "placed": all(sent[name].sharding == like[name].sharding for name in arrays),
    "refused": refused,
}))
"""


def test_two_processes_have_what_the_first_has_bit_for_bit():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", f"import jax; jax.config.update('jax_num_cpu_devices', 1){TALK}",
             str(port), str(number)],
            cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    first, other = (json.loads(p.communicate(timeout=300)[0].splitlines()[-1]) for p in started)
    assert [process.returncode for process in started] == [0, 0]
    assert first["told"] == other["told"] == {"number": 0, "none": None}
    assert first["done"] and not other["done"]
    assert all(first["same"].values()) and len(first["same"]) == 5
    assert other["none"] and not first["none"]
    assert first["placed"] and other["placed"]
    assert first["refused"] == ["FirstProcessError", "got a full disk"]
    told_off = "got no room from process 0; expected its message to say why"
    assert other["refused"] == ["LostProcessError", told_off]


def test_one_process_has_its_own_arrays_and_no_copies():
    tree = {"a": jax.numpy.arange(3)}
    assert gathered_by_first(tree) is tree and sent_by_first(tree, tree) is tree
    assert told_by_first("list", lambda: [1]) == [1]
    thing = np.ones(2)
    assert done_by_first("thing", lambda: thing) is thing
