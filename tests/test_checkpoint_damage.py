"""Damaged checkpoints: every file flipped, cut, emptied, gone. None is read as other numbers."""

import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.checkpoint_files import (
    DamagedCheckpointError,
    damage_of,
    load_embeddings,
    load_json,
    load_params,
    load_state,
)
from bert_jax.checkpoints import Checkpoints, damaged_checkpoints, set_aside
from tests.test_checkpoints import VOCABULARY, pretrainer

# Threads of tensorstore report to orbax's event loop after orbax has given up and closed it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

FLIPS = int(os.environ.get("FUZZ", "1"))  # of each file: in its first bytes, its last, anywhere


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory with the checkpoints 1 and 2, the state of 2, and what a state looks like."""
    directory, run = tmp_path_factory.mktemp("run") / "checkpoints", pretrainer()
    store = Checkpoints(directory, keep=9, config={"hidden_size": 16}, vocabulary=VOCABULARY)
    state = run.initial_state()
    states = [jax.tree.map(lambda x, s=step: jnp.full_like(x, s), state) for step in (1, 2)]
    for number, each in enumerate(states):
        store.save(each, {"heldout_mlm_loss": 3.0 - number})
    store.close()
    return directory, states[1], run.abstract_state


def assert_reads(path, like, state):
    """Every reader gives what was saved."""
    params = jax.device_get(state.params)
    found = [load_state(path, like), load_params(path), load_embeddings(path)]
    for mine, wanted in zip(found, [state, params, params["bert"]["embeddings"]], strict=True):
        jax.tree.map(np.testing.assert_array_equal, mine, wanted)
    assert load_json(path, "config") == {"hidden_size": 16}
    assert load_json(path, "vocabulary") == VOCABULARY


def copied(directory, tmp_path):
    return Path(shutil.copytree(directory, tmp_path / "copy", dirs_exist_ok=True))


def files_of(checkpoint):
    return sorted(p for p in checkpoint.rglob("*") if p.is_file())


def test_a_flipped_bit_is_an_error_or_changes_nothing(saved, tmp_path):
    directory, state, like = saved
    copy = copied(directory, tmp_path) / "2"
    rng, found, tried = np.random.default_rng(0), 0, 0
    for number, file in enumerate(files_of(copy)):
        whole = file.read_bytes()
        for flip in range(number, number + FLIPS if whole else number):
            size = len(whole)
            first, last = [(0, min(size, 16)), (max(size - 16, 0), size), (0, size)][flip % 3]
            place = int(rng.integers(first, last))
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(bytes(damaged))
            tried += 1
            if damage_of(copy) is not None:
                found += 1
                continue
            assert_reads(copy, like, state)
        file.write_bytes(whole)
    assert damage_of(copy) is None
    assert found > tried / 3, (found, tried)


def test_a_file_that_is_not_whole_is_an_error_or_changes_nothing(saved, tmp_path):
    directory, state, like = saved
    copy = copied(directory, tmp_path) / "2"
    for number, file in enumerate(files_of(copy)):
        whole = file.read_bytes()
        match number % 3:
            case 0:
                file.unlink()
            case 1:
                file.write_bytes(whole[: len(whole) // 2])
            case 2:
                file.write_bytes(b"")
        if damage_of(copy) is None:
            assert_reads(copy, like, state)
        file.write_bytes(whole)


@pytest.mark.parametrize("item", ["state", "embeddings", "config", "vocabulary"])
def test_an_item_that_is_gone_is_named(saved, tmp_path, item):
    directory, _, _ = saved
    copy = copied(directory, tmp_path) / "2"
    shutil.rmtree(copy / item)
    assert "is not there" in (damage_of(copy) or "")


def test_every_reader_names_an_array_that_is_not_what_was_written(saved, tmp_path):
    directory, _, like = saved
    copy = copied(directory, tmp_path) / "2"
    rewritten = copied(directory, tmp_path / "b") / "1"
    shutil.rmtree(copy / "embeddings")
    shutil.copytree(rewritten / "embeddings", copy / "embeddings")  # whole, but not its own
    for reader in (load_params, load_embeddings, lambda path: load_state(path, like)):
        with pytest.raises(
            DamagedCheckpointError, match=r"got .*2, a damaged checkpoint \(params/bert/embeddings"
        ):
            reader(copy)


def test_damaged_checkpoints_are_set_aside_up_to_a_whole_one(saved, tmp_path, capsys):
    directory, _, like = saved
    copy = copied(directory, tmp_path)
    (copy / "2" / "config" / "data.json").write_text('{"hidden_size": 17}')
    set_aside(damaged_checkpoints(copy))
    assert sorted(p.name for p in copy.iterdir()) == ["1", "2.damaged"]
    assert "2 is damaged (config is not what was written); set aside as 2.damaged" in (
        capsys.readouterr().err
    )
    store = Checkpoints(copy, keep=9, config={"hidden_size": 16}, vocabulary=VOCABULARY)
    assert store.latest_step() == 1
    assert int(store.restore(like).step) == 1
    store.close()
    shutil.copytree(directory / "2", copy / "2")  # written again, and damaged again
    (copy / "2" / "config" / "data.json").write_text("")
    set_aside(damaged_checkpoints(copy))
    assert sorted(p.name for p in copy.iterdir()) == ["1", "2.damaged", "2.damaged-2"]
    (copy / "1" / "config" / "data.json").write_text("{")
    with pytest.raises(DamagedCheckpointError, match=r"1, a damaged checkpoint \("):
        damaged_checkpoints(copy)
    assert (copy / "1").is_dir()


def test_a_checkpoint_of_before_there_were_digests_is_read(saved, tmp_path):
    directory, state, like = saved
    copy = copied(directory, tmp_path) / "2"
    shutil.rmtree(copy / "digests")
    assert damage_of(copy) is None
    jax.tree.map(np.testing.assert_array_equal, load_state(copy, like), state)


def held():
    """Open files, threads, memory maps and MiB of this process."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    counts = [len(os.listdir(f"/proc/self/{kind}")) for kind in ("fd", "task")]
    return [*counts, Path("/proc/self/maps").read_text().count("\n"), resident >> 20]


@pytest.mark.parametrize("saves", [40, pytest.param(2000, marks=pytest.mark.slow)])
def test_many_checkpoints_leave_no_thread_and_no_file_open(tmp_path, saves):
    state = pretrainer().initial_state()
    store = Checkpoints(tmp_path, keep=1, config={"hidden_size": 16}, vocabulary=VOCABULARY)
    looks = []
    for step in range(saves):
        moved = state.__class__(jnp.int32(step), state.params, state.opt_state)
        store.save(moved, {"heldout_mlm_loss": 1.0})
        store.wait()
        looks.append(held())
    store.close()
    # Pools begin a thread when they first need it; what leaks grows with every save.
    half = saves // 2
    files, threads, maps, memory = np.max(looks[half:], axis=0) - np.max(looks[:half], axis=0)
    assert max(files, threads) < 5, looks[:: saves // 20]
    # tensorstore loses what it converts to Python, 0.3 kB an array and save (docs/promises.md).
    assert maps < 100 and memory < 64 + half / 10, looks[:: saves // 20]
