"""Parts of the input representation that are no tables, as docs/embedding_tables.md has them."""

import io
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bert_jax import Bert, BertForMaskedLM, BertForPreTraining, Parts, pretrain
from bert_jax.analysis import inspect_embeddings
from bert_jax.checkpoints import Checkpoints
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.model.embeddings import SegmentEmbedding, rows_of
from bert_jax.tables.part_tables import tables_of
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.text.vocabulary_record import vocabulary_record
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.optimizers import create_optimizer
from bert_jax.training.sharding import create_mesh, put_batch
from tests.training.examples import PIECES, UNEVEN_VOCABULARY, batches, tiny_config

DOCS = Path(__file__).parents[2] / "docs" / "embedding_tables.md"


def documented():
    """What the section on another part defines; its last block needs a run."""
    section = DOCS.read_text().split("## Another part")[1].split("\n## ")[0]
    names: dict = {}
    *blocks, last = re.findall(r"```python\n(.*?)```", section, re.S)
    for block in blocks:
        exec(block, names)
    return names, last


NAMES, LAST = documented()
SINUSOIDAL, HASHED = NAMES["SinusoidalPositions"], NAMES["HashedTokens"]
PARTS = {
    "sinusoidal": Parts(position=SINUSOIDAL),
    "hashed": Parts(token=HASHED),
    "both": NAMES["parts"],
}


def pretrainer(parts, devices=1, config=None, optimizer="adamw", **choices):
    def rate(count):
        return 1e-2

    mesh = create_mesh({"fsdp": devices}, jax.devices()[:devices])
    return assemble_pretrainer(
        config or tiny_config(), mesh, create_optimizer(optimizer, rate), rate,
        seed=0, batch_size=8, parts=parts, **choices,
    )  # fmt: skip


def steps(run, state, numbers):
    losses = []
    for number in numbers:
        state, metrics = run.train_step(state, put_batch(batches()[number], run.mesh))
        losses.append(float(metrics["loss"]))
    return state, losses


@pytest.mark.parametrize("name", PARTS)
def test_it_is_trained_saved_restored_and_looked_at(tmp_path, name):
    parts = PARTS[name]
    run = pretrainer(parts)
    state, losses = steps(run, run.initial_state(), [0] * 12)
    assert losses[-1] < losses[0] - 0.1
    checkpoints = Checkpoints(
        tmp_path / "run" / "checkpoints", keep=2, config=tiny_config().to_dict(),
        vocabulary=vocabulary_record(Tokenizer(list(PIECES))),
    )  # fmt: skip
    checkpoints.save(state)
    checkpoints.wait()
    restored = checkpoints.restore(run.abstract_state)
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    again, resumed = steps(run, restored, [1])
    straight, expected = steps(run, state, [1])
    assert resumed == expected
    jax.tree.map(np.testing.assert_array_equal, again, straight)
    checkpoints.close()

    model = Bert.from_pretrained(tmp_path / "run", parts=parts)
    tables = tables_of(load_pretrained(tmp_path / "run", embeddings_only=True), parts)
    for part, count in (("token", 96), ("segment", 2), ("position", 32)):
        ids = jnp.arange(count)[None]
        got = getattr(model.embeddings, part)(ids)[0]
        np.testing.assert_allclose(getattr(tables, part), got, atol=1e-7)
    found = inspect_embeddings(tmp_path / "run", parts=parts)
    without = [part for part in ("token", "position") if parts_differ(parts, part)]
    notes = " ".join(found.numbers["overview"]["notes"])
    assert [part for part in ("token", "position") if f"the {part} embedding has no" in notes] == (
        without
    )
    assert "has no table" in found.page()
    with pytest.raises(UserError, match=f"whose {' and '.join(without)} part has no table; exp"):
        inspect_embeddings(tmp_path / "run")


def parts_differ(parts, name):
    return getattr(parts, name) is not getattr(Parts(), name)


def test_the_documentations_last_lines_run_and_the_run_remembers_its_parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 32, "max_position_embeddings": 32, "vocab_size": 200}  # fmt: skip
    (tmp_path / "small.json").write_text(json.dumps(sizes))
    small = {"model": "small.json", "steps": 2, "batch_size": 8, "phases": "32:1.0",
             "vocab_size": 200, "eval_every": 2}  # fmt: skip
    draw = np.random.default_rng(0)
    words = ["method", "new", "gradient", "array", "returns", "shape", "value", "of", "the", "a"]
    texts = [" ".join(draw.choice(words, 9)) + ". " for _ in range(900)]
    documents = ["".join(texts[i : i + 9]) for i in range(0, 900, 9)]
    names = {**NAMES, "documents": documents, "small": small}
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", io.StringIO())
        exec(LAST.replace('"python_docs"', "documents").replace("steps=100", "**small"), names)
    assert names["found"].numbers["overview"]["tables"]["position"] == [32, 16]
    record = json.loads((tmp_path / "runs" / "hashed" / "config.json").read_text())
    assert record["parts"] == {"token": "HashedTokens", "position": "SinusoidalPositions"}
    with pytest.raises(
        UserError, match=r"got parts=None, but the run in .* was started with parts"
    ):
        pretrain(documents, tmp_path / "runs" / "hashed", **small)


def test_a_tied_decoder_scores_with_the_vectors_a_part_gives():
    model = BertForMaskedLM(tiny_config(), nnx.Rngs(0), parts=PARTS["hashed"])
    assert model([[1, 2, 3]]).logits.shape == (1, 3, 96)
    vectors = rows_of(model.bert.embeddings.token, 96)
    np.testing.assert_array_equal(vectors, model.bert.embeddings.token(jnp.arange(96)[None])[0])


def test_a_vocabulary_that_devices_share_unevenly_gives_the_loss_of_one_device():
    config = tiny_config(vocab_size=UNEVEN_VOCABULARY)
    losses = []
    for devices in (1, 8):
        run = pretrainer(PARTS["both"], devices, config)
        losses.append(steps(run, run.initial_state(), [0, 1])[1])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_a_plain_function_will_do():
    parts = Parts(position=lambda config, rngs: lambda ids: jnp.zeros((*ids.shape, 16)))
    model = Bert(tiny_config(), nnx.Rngs(0), parts=parts)
    np.testing.assert_array_equal(
        model([[1, 2]], output_embeddings=True).embeddings.position, np.zeros((1, 2, 16))
    )


def test_positions_without_a_table_have_no_longest_input():
    model = Bert(tiny_config(), nnx.Rngs(0), parts=PARTS["sinusoidal"])
    assert model(np.ones((1, 40), int)).last_hidden_state.shape == (1, 40, 16)


def test_a_part_of_another_width_is_named():
    model = Bert(tiny_config(), nnx.Rngs(0))
    model.embeddings.segment = SegmentEmbedding(tiny_config(hidden_size=8), nnx.Rngs(0))
    with pytest.raises(UserError, match=r"\(1, 1, 8\) from the segment embedding, SegmentEmb"):
        model([[1]])


def test_what_follows_the_rows_of_a_table_refuses_a_part_without(tmp_path):
    said = "got a token embedding without a `table`; expected a `TokenEmbedding`, or a run without"
    with pytest.raises(UserError, match=said):
        pretrainer(PARTS["hashed"], audit_mask_id=4)
    untied = tiny_config(tie_word_embeddings=False)
    with pytest.raises(UserError, match=said):
        pretrainer(PARTS["hashed"], config=untied, optimizer="row_lazy_adamw", row_lazy=True)
    run = pretrainer(PARTS["sinusoidal"], audit_mask_id=4)
    assert steps(run, run.initial_state(), [0])[1]
    model = BertForPreTraining(tiny_config(), nnx.Rngs(0), parts=PARTS["sinusoidal"])
    with pytest.raises(UserError, match="whose position embedding has no table, which no other"):
        model.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()
