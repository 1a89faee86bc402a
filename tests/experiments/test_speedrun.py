"""The frozen problem of the speedrun: its masks as our batches, its documents, its clock."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.experiments.runs import REPOSITORY, run_each

# Two pairs in rows of 6: [CLS] 7 [SEP] 8 [SEP] and [CLS] 9 9 [SEP] 7 [SEP].
FROZEN = {
    "masked": [[2, 4, 3, 8, 3, 0], [2, 9, 4, 3, 5, 3]],
    "labels": [[-100, 7, -100, -100, -100, -100], [-100, -100, 9, -100, 7, -100]],
    "ids": [[2, 7, 3, 8, 3, 0], [2, 9, 9, 3, 7, 3]],
    "length": [5, 6],
    "len_a": [3, 4],
    "is_random": [1, 0],
}

ASKED = """
import json, sys
import numpy as np
from bert_jax.config import BertConfig
from bert_jax.data.document import Document
from bert_jax.training.pretraining_settings import PretrainingSettings
from experiments.benchmarks import speedrun
from pathlib import Path
np.savez("frozen.npz", **json.loads(sys.argv[1]))
batches = speedrun.frozen_batches(Path("frozen.npz"))
names = [speedrun._name(Document(name, ""), Path("corpus")) for name in
         ("corpus/novels/Emma.txt", "corpus/foldoc/foldoc.docs.txt:3")]
sizes = {"hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 8}
settings = PretrainingSettings(model=BertConfig.tiny().replace(**sizes), steps=4, phases="8:1.0")
loss = speedrun.loss_on(batches, settings, 10)
clock = speedrun.Clock(lambda params: 7.0 - params, lambda step: step % 2 == 0)
clock.on_train_begin(0)
for step in range(1, 5):
    clock.on_update(step, type("S", (), {"params": float(step)}))
clock.on_train_end()
run = speedrun.outcome("some", 0, clock, 5.0)
printed = {name: array.tolist() for name, array in batches[0].items()}
print(json.dumps([printed, names, [look[0::3] for look in clock.looks], run.reached, run.steps,
                  run.loss]))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, "-c", ASKED, json.dumps(FROZEN)],
        cwd=tmp_path_factory.mktemp("speedrun"), capture_output=True, text=True,
        env={"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_frozen_masks_are_batches_of_ours(found):
    batch = found[0]
    assert batch["input_ids"] == FROZEN["masked"]
    assert batch["token_type_ids"] == [[0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 1]]
    assert batch["position_ids"] == [[0, 1, 2, 3, 4, 0], [0, 1, 2, 3, 4, 5]]
    assert batch["instance_ids"] == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]
    assert batch["masked_positions"] == [[1, 0], [2, 4]]
    assert batch["masked_labels"] == [[7, 0], [9, 7]]
    assert batch["masked_weights"] == [[1, 0], [1, 1]]
    assert batch["next_labels"] == [[1], [0]]


def test_a_document_is_called_what_the_split_calls_it(found):
    assert found[1] == ["novels/Emma.txt", "foldoc/foldoc.docs.txt#2"]


def test_the_clock_looks_when_due_and_stops_where_the_loss_is_reached(found):
    _, _, looks, reached, steps, last = found
    assert looks == [[2, 5.0], [4, 3.0]]
    assert (reached, steps, last) == (True, 2, 3.0)


def test_every_flag_wrong_on_purpose(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    (tmp_path / "split.tsv").write_text("train\tnovels/Emma.txt\n")
    (tmp_path / "there.txt").write_text("Another text.\n")
    np.savez(tmp_path / "heldout_instances.npz", **{k: np.array(v) for k, v in FROZEN.items()})
    both = ["--problem=.", "--corpus=."]
    cases = {
        "got no --problem or no --corpus": ["--corpus=."],
        "got --recipe=magic; expected one of: as the reference": [*both, "--recipe=magic"],
        "got --problem=none, which has no": ["--problem=none", "--corpus=."],
        "novels/Emma.txt": both,
    }
    outcomes = run_each("benchmarks.speedrun", list(cases.values()), tmp_path)
    for words, done in zip(cases, outcomes, strict=True):
        assert done.status == 2 and words in done.errors and done.errors.count("\n") == 1, done
