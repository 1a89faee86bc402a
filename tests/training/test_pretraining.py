"""A run from a notebook: text in memory, callbacks, and what README and docs/metrics.md show."""

import dataclasses
import json
import random
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import bert_jax
from bert_jax import BertConfig, Callback, UserError, audit_updates, open_source, pretrain
from bert_jax.data.sources import texts_in_memory
from bert_jax.file_digests import read_sealed
from bert_jax.training.metrics import read_metrics
from bert_jax.training.pretraining_settings import PretrainingSettings

METRICS = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
CONFIG = BertConfig(
    vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=32, max_position_embeddings=32,
)  # fmt: skip
SETTINGS = {
    "model": CONFIG, "vocab_size": 64, "steps": 4, "batch_size": 8, "phases": "32:1.0",
    "heldout_fraction": 0.3, "log_every": 1, "eval_every": 2,
}  # fmt: skip


def texts():
    draw = random.Random(0)
    words = ["red", "green", "blue", "fox", "dog", "cat", "runs", "sleeps", "eats", "the", "a"]
    return [
        " ".join(" ".join(draw.choices(words, k=6)).capitalize() + "." for _ in range(30))
        for _ in range(8)
    ]


class Told(Callback):
    def __init__(self):
        self.events = []

    def on_train_begin(self, step):
        self.events.append(("begin", step))

    def on_log(self, step, metrics):
        self.events.append((step, metrics["mlm_loss"]))

    def on_evaluate(self, step, metrics):
        self.events.append((step, metrics["heldout_mlm_loss"]))

    def on_train_end(self):
        self.events.append("end")


def documented(name):
    """The class of that name in docs/metrics.md, with the module it imports a stand-in."""
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", METRICS, re.DOTALL)
        if f"class {name}(" in block
    )  # fmt: skip
    space = {}
    exec(code.split("\n\n\npretrain(")[0], space)
    return space[name]


@pytest.fixture(scope="module")
def stand_ins():
    """`wandb` and `mlflow` that write down what they are told."""
    wandb, mlflow, heard = types.ModuleType("wandb"), types.ModuleType("mlflow"), {}
    heard["wandb"] = at_wandb = []
    heard["mlflow"] = at_mlflow = []
    run = types.SimpleNamespace(
        log=lambda metrics, step: at_wandb.append((step, metrics)),
        finish=lambda: at_wandb.append("finished"),
    )
    wandb.init = lambda **options: at_wandb.append(options) or run
    mlflow.start_run = lambda run_id: at_mlflow.append(run_id)
    mlflow.log_metrics = lambda metrics, step: at_mlflow.append((step, metrics))
    mlflow.end_run = lambda: at_mlflow.append("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "wandb", wandb)
        patch.setitem(sys.modules, "mlflow", mlflow)
        yield heard


@pytest.fixture(scope="module")
def run(tmp_path_factory, stand_ins):
    """A finished run on text in memory, its workdir, and what callbacks heard."""
    workdir, told = tmp_path_factory.mktemp("run") / "run", Told()
    others = [documented("WeightsAndBiases")(project="bert", id="mine"), documented("MLflow")()]
    result = pretrain(texts(), workdir, callbacks=[told, documented("PrintLoss")(), *others],
                      **SETTINGS)  # fmt: skip
    return workdir, result, told.events


def test_a_callback_hears_what_the_files_hold(run):
    workdir, result, events = run
    steps = [(line["step"], line["mlm_loss"]) for line in read_metrics(workdir / "metrics.jsonl")]
    heldout = [
        (line["step"], line["heldout_mlm_loss"]) for line in read_metrics(workdir / "heldout.jsonl")
    ]
    assert [step for step, _ in heldout] == [2, 4]
    assert events == [
        ("begin", 0), *steps[:2], heldout[0], *steps[2:], heldout[1], "end"
    ]  # fmt: skip
    assert result.steps == 4 and result.heldout_mlm_loss == heldout[-1][1]
    saved = read_sealed(workdir / "result.json", "")
    assert saved == json.loads(json.dumps(result.to_dict()))


def test_the_documented_callbacks_tell_their_services_all(run, stand_ins):
    workdir = run[0]
    lines = sorted(
        read_metrics(workdir / "metrics.jsonl") + read_metrics(workdir / "heldout.jsonl"),
        key=lambda line: (line["step"], "heldout_mlm_loss" in line),
    )
    expected = [(line.pop("step"), line) for line in lines]
    first, *between, last = stand_ins["wandb"]
    assert first == {"resume": "allow", "project": "bert", "id": "mine"}
    assert (between, last) == (expected, "finished")
    assert stand_ins["mlflow"] == [None, *expected, "finished"]


def test_the_same_call_continues_and_other_text_is_refused(run):
    workdir, result, _ = run
    again = pretrain(texts(), workdir, **SETTINGS)
    assert again.resumed_from == 4
    assert again.heldout_mlm_loss == result.heldout_mlm_loss
    with pytest.raises(UserError, match=r"got corpus=\['8 texts in memory, .*another `workdir`"):
        pretrain([*texts()[1:], "Another text."], workdir, **SETTINGS)
    with pytest.raises(UserError, match=r"got learning_rate=0.1, but the run in .* was started"):
        pretrain(texts(), workdir, **SETTINGS | {"learning_rate": 0.1})


def test_a_few_steps_are_audited_from_the_checkpoint(run):
    workdir, result, _ = run
    audit = audit_updates(
        workdir / "corpus", checkpoint=workdir, steps=3, batch_size=8, length=32, callbacks=[]
    )
    assert audit.summary["steps"] == 3 and audit.tied
    ledger = audit.ledger()
    assert ledger["piece"] == list(result.corpus.tokenizer.pieces)
    assert {len(column) for column in ledger.values()} == {len(audit.pieces)}
    assert (ledger["changed"] == 3).all()  # a tied decoder has a gradient for every row
    cat = ledger["piece"].index("cat")
    assert ledger["as_input"][cat] == 3 and ledger["first_seen"][cat] == 1
    assert audit.causes().all == pytest.approx(1 - audit.summary["in_batch_share"])

    untied = CONFIG.replace(tie_word_embeddings=False)
    audit = audit_updates(
        result.corpus, config=untied, optimizer="row_lazy_adamw", steps=2, batch_size=8,
        length=32, callbacks=[],
    )  # fmt: skip
    assert not audit.ledger()["changed_absent"].any()
    assert audit.causes().all == 0
    assert np.all(audit.drift[audit.ledger()["as_input"] == 0] == 0)


def test_an_audit_names_what_does_not_fit(run):
    with pytest.raises(UserError, match=r"got length=64; expected at most 32"):
        audit_updates(run[1].corpus, config=CONFIG)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "got steps=0; expected at least 1"),
        ({"masking": "word"}, "got masking=word; expected one of token, whole_word"),
        ({"hidden_dropout": -0.1}, "got hidden_dropout=-0.1; expected at least 0"),
        ({"attention_dropout": 1.0}, "got attention_dropout=1.0; expected at most 0.9"),
        ({"heldout_fraction": 0}, "got heldout_fraction=0; expected a share above 0"),
        ({"model": "huge"}, "got model=huge; expected a config.json or one of tiny"),
        ({"phases": "128"}, "got phases=128; expected length:share pairs"),
        ({"freeze": ("tokens",)}, "got freeze=tokens; expected some of token, segment"),
        ({"freeze": "all"}, "got freeze=all; expected some of token, segment, position, embedd"),
        ({"freeze": "layers:0"}, "got freeze=layers:0; expected some of token, segment"),
        ({"freeze": "layers:1,layers:2"}, "got freeze=layers:1,layers:2; expected some of"),
        ({"freeze": "layers:3"}, "got freeze=layers:3 for a model of 2 layers; expected at most"),
        ({"freeze": ""}, "got freeze= without a value; expected one"),
        (
            {"init_parts": "words", "init_embeddings": "t.npz"},
            "got init_parts=words; expected some",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_named(wrong, message, tmp_path):
    with pytest.raises(UserError) as caught:
        pretrain(texts(), tmp_path / "run", **wrong)
    assert str(caught.value).startswith(message)
    assert "--" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"optimizer": "row_lazy_adamw"}, "got a row-lazy optimiser with a tied decoder"),
        (
            {"optimizer": "row_lazy_adamw", "untied": True, "freeze": ("token",)},
            "got a row-lazy optimiser and a frozen token table",
        ),
        ({"batch_size": 8, "accumulate": 3}, "got batch_size=8; expected a multiple of"),
        ({"freeze": ("layers:9",)}, "got freeze=layers:9 for a model of 2 layers"),
        ({"attention": "fused"}, "got attention=fused, which drops no attention weights, for a"),
    ],
)
def test_what_the_settings_alone_refuse_is_said_before_any_work(
    wrong, message, tmp_path, monkeypatch
):
    def prepare(*_, **__):
        raise AssertionError("the corpus is being prepared")

    monkeypatch.setattr("bert_jax.training.pretraining.prepare_corpus", prepare)
    with pytest.raises(UserError) as caught:
        pretrain(texts(), tmp_path / "run", **wrong)
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "run").exists()


def test_a_list_of_strings_is_documents_however_short(tmp_path):
    (tmp_path / "a book.txt").write_text("Text.")
    names = ["python_docs", "Hello.", str(tmp_path / "a book.txt")]
    assert [document.text for document in texts_in_memory(names)] == names
    source = texts_in_memory(["A document.", "", "And \ud83d another."])
    assert [document.text for document in source] == ["A document.", "", "And \ufffd another."]
    assert source.identity != texts_in_memory(["A document."]).identity


def test_several_names_are_one_source(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name)
    names = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    assert open_source(names).names == tuple(names)


def test_a_record_of_settings_is_json():
    record = PretrainingSettings(
        model=CONFIG, phases="32:1.0", freeze=("position", "token")
    ).record()
    assert json.loads(json.dumps(record)) == record
    assert record["freeze"] == "token,position" and record["lowercase"] is True
    for freeze in ("position,token", ["token", "position"]):
        assert PretrainingSettings(freeze=freeze).record()["freeze"] == "token,position"
    both = PretrainingSettings(freeze="layers:2,token,embeddings").record()
    assert both["freeze"] == "embeddings,layers:2"
    assert {field.name for field in dataclasses.fields(PretrainingSettings)} == record.keys()


def test_the_face_has_them():
    assert {"Callback", "pretrain", "audit_updates"} <= set(dir(bert_jax))


def test_dropout_rates_are_the_models_unless_said():
    def rates(**settings):
        config = PretrainingSettings(**settings).config()
        return config.hidden_dropout_prob, config.attention_probs_dropout_prob

    assert rates() == (0.1, 0.1)
    assert rates(hidden_dropout=0.0) == (0.0, 0.1)
    assert rates(hidden_dropout=0.2, attention_dropout=0.0) == (0.2, 0.0)


def test_a_row_has_no_places_that_no_instance_can_take():
    assert PretrainingSettings().rows().max_instances == 8
    assert PretrainingSettings(phases="12:0.5,16:0.5").rows().max_instances == 5
    assert PretrainingSettings(pack=10**9).rows().max_instances == 42
