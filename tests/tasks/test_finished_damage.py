"""Damaged files of a fine-tuning workdir that is finished: one line, or yesterday's figures."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.tasks.features import cached
from tests.damage import DAMAGES, damage
from tests.tasks.test_same_contents import ROWS, tune, write

VOUCHED = [
    f"run/seed0/{name}"
    for name in ("result.json", "metrics.jsonl", "heldout.jsonl", "predictions_dev.jsonl")
]
KINDS = [*VOUCHED, "run/config.json", "run/contents.json", "run/result.json"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    write(folder / "train.tsv", ROWS)
    write(folder / "dev.tsv", ROWS[:3])
    return folder, tune(folder)


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_one_line_or_changes_nothing(finished, tmp_path, kind, how):
    folder, expected = finished
    kept = Path(shutil.copytree(folder / "run", tmp_path / "kept", symlinks=True))
    if (kind, how) == ("run/seed0/result.json", "removed"):
        return  # the seed is trained again: tests/faults/test_finetune.py
    damage(folder / kind, how, np.random.default_rng(0))
    try:
        result = tune(folder)
        assert result.figures["scores"] == expected.figures["scores"]
        assert result.predictions == expected.predictions
        assert result.curves == expected.curves
        assert kind not in VOUCHED
    except UserError as error:
        assert "\n" not in str(error) and str(folder / "run") in str(error)
        assert kind != "run/result.json"  # which is written anew
    finally:
        shutil.rmtree(folder / "run")
        shutil.copytree(kept, folder / "run", symlinks=True)


def test_damaged_token_sequences_are_made_again(tmp_path):
    arrays = {"ids": np.arange(50, dtype=np.int32), "starts": np.arange(4)}
    cached(tmp_path, {}, lambda: arrays)
    (file,) = tmp_path.iterdir()
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    for how in [*DAMAGES, *["flipped"] * 400]:
        damage(file, how, rng)
        found = cached(tmp_path, {}, lambda: arrays)
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
        file.write_bytes(whole)
