"""Programs that are kept: found again, thrown away where damaged, and never the cause of an end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bert_jax.cli.compiled_programs import KeptPrograms, keep_programs, kind_of_cpu
from bert_jax.errors import UserError

_COMPUTE = """
import collections, hashlib, json, sys
import jax, jax.numpy as jnp, numpy as np
from bert_jax.cli.compiled_programs import keep_programs

seen = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: seen.update([event.split("/")[-1]]))
keep_programs(sys.argv[1])

@jax.jit
def step(x):
    for _ in range(4):
        x = jnp.tanh(x @ x.T + jnp.sin(x) * 0.37) + 1.2345
    return x

bits = np.asarray(step(jnp.full((64, 64), 0.01))).tobytes()
print(json.dumps([hashlib.sha256(bits).hexdigest(), seen["cache_hits"], seen["cache_misses"]]))
"""

_PLACES = """
import json, os, sys
import jax
from bert_jax.cli.compiled_programs import keep_programs

os.chdir(sys.argv[1])
places = []
for arguments, environment, told, on in json.loads(sys.argv[2]):
    os.environ.update(environment)
    jax.config.update("jax_compilation_cache_dir", told)
    jax.config.update("jax_enable_compilation_cache", on)
    keep_programs(*arguments)
    used = jax.config.jax_enable_compilation_cache
    places.append(jax.config.jax_compilation_cache_dir if used else None)
print(json.dumps(places))
"""


def _python(script, *arguments, **environment):
    known = {name: text for name, text in os.environ.items() if not name.startswith("JAX_")}
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=known | environment,
        capture_output=True,
        text=True,
        check=True,
    )


def _program(folder: Path, key: str, content=b"machine code", used=True):
    (folder / f"{key}-cache").write_bytes(content)
    if used:
        (folder / f"{key}-atime").write_bytes(b"12345678")


def _kept(folder: Path) -> set[str]:
    return {name.removesuffix("-cache") for name in os.listdir(folder) if name.endswith("-cache")}


def test_another_start_finds_every_program_and_the_same_bits(tmp_path):
    cold, warm = (_python(_COMPUTE, tmp_path) for _ in range(2))
    bits, hits, misses = json.loads(cold.stdout)
    assert hits == 0 and misses > 0
    assert json.loads(warm.stdout) == [bits, misses, 0]
    assert cold.stderr == warm.stderr == ""

    # One bit of each: without digests such programs crash, or give other numbers.
    for path in tmp_path.rglob("*-cache"):
        content = bytearray(path.read_bytes())
        content[len(content) * 2 // 3] ^= 4
        path.write_bytes(content)
    damaged, mended = (_python(_COMPUTE, tmp_path) for _ in range(2))
    assert json.loads(damaged.stdout) == [bits, 0, misses]
    assert json.loads(mended.stdout) == [bits, misses, 0]
    assert damaged.stderr == ""


def test_a_full_disk_costs_the_programs_alone(tmp_path):
    nearly = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))"
    bits, _, misses = json.loads(_python(_COMPUTE, tmp_path).stdout)
    full = tmp_path / "full"
    without = _python(nearly + _COMPUTE, full)
    assert json.loads(without.stdout) == [bits, 0, misses]
    assert without.stderr.count("\n") == 1
    assert "compiled programs are not saved" in without.stderr
    assert json.loads(_python(_COMPUTE, full).stdout)[0] == bits


@pytest.mark.parametrize("damage", ["half-written", "unsigned", "changed", "cut", "digest"])
def test_what_is_not_as_it_was_written_goes(tmp_path, damage):
    kept = KeptPrograms(tmp_path)
    _program(tmp_path, "jit_good-1a")
    _program(tmp_path, "jit_bad-2b")
    if damage != "unsigned":
        kept.sign()
    if damage == "half-written":
        _program(tmp_path, "jit_bad-2b", used=False)
        (tmp_path / "jit_bad-2b-atime").unlink()
    elif damage == "changed":
        (tmp_path / "jit_bad-2b-cache").write_bytes(b"machine c0de")
    elif damage == "cut":
        (tmp_path / "jit_bad-2b-cache").write_bytes(b"")
    elif damage == "digest":
        (tmp_path / "jit_bad-2b-digest").write_bytes(b"\xff")
    kept.tidy()
    assert _kept(tmp_path) == (set() if damage == "unsigned" else {"jit_good-1a"})
    assert not list(tmp_path.glob("jit_bad*"))


def test_those_last_used_stay_and_others_files_too(tmp_path):
    for age, key in enumerate(["jit_c-3", "jit_a-1", "jit_b-2"]):
        _program(tmp_path, key)
        os.utime(tmp_path / f"{key}-atime", (10**9 - age, 10**9 - age))
    (tmp_path / "notes.txt").write_text("mine")
    kept = KeptPrograms(tmp_path)
    kept.sign()
    kept.tidy(most=2)
    assert _kept(tmp_path) == {"jit_a-1", "jit_c-3"}
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_program_that_was_not_written_whole_gets_no_digest(tmp_path):
    _program(tmp_path, "jit_half-1", used=False)
    with pytest.raises(OSError, match="is the disk full"):
        KeptPrograms(tmp_path).sign()
    assert not list(tmp_path.glob("*-digest"))


def test_where_programs_are_kept(tmp_path):
    here, cpu = tmp_path, kind_of_cpu()
    told = {"XDG_CACHE_HOME": f"{here}/xdg", "HOME": f"{here}/home"}
    home = {"XDG_CACHE_HOME": "relative", "HOME": f"{here}/home"}
    expected = [
        # what is asked for, what the environment says, what jax was told, and where they then are
        ([None], told, None, True, f"{here}/xdg/bert_jax/programs/{cpu}"),
        ([None], home, None, True, f"{here}/home/.cache/bert_jax/programs/{cpu}"),
        ([None, "runs/mine/"], home, None, True, f"{here}/runs/compiled_programs/{cpu}"),
        ([None, "gs://b/runs/m"], home, None, True, f"gs://b/runs/compiled_programs/{cpu}"),
        (["there"], home, "/told", False, f"{here}/there/{cpu}"),
        (["off"], home, "/told", True, None),
        ([None], home, "/told", True, "/told"),
        ([None], home, None, False, None),
    ]
    asked = json.dumps([case[:-1] for case in expected])
    assert json.loads(_python(_PLACES, here, asked).stdout) == [case[-1] for case in expected]


@pytest.mark.parametrize("choice", ["", "false", "None", "on"])
def test_a_word_that_is_no_folder_is_refused(choice):
    with pytest.raises(
        UserError, match=f"got compilation_cache={choice}; expected a folder, or off"
    ):
        keep_programs(choice)


def test_a_folder_that_cannot_be_used_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file, which cannot be used \(Not a directory\)"):
        keep_programs(str(tmp_path / "file"))
