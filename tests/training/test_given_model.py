"""A run that starts from a whole model: what is taken, what is drawn, how good it was before."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from bert_jax import (
    Bert,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    Callback,
    Tokenizer,
    UserError,
    pretrain,
)
from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.ours import save_ours
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.data.corpus import Corpus
from bert_jax.data.documents import Documents
from bert_jax.data.loader import HeldoutBatches
from bert_jax.model.embeddings import PUBLISHED
from bert_jax.parameters import split_model
from bert_jax.text.tokenizer import SPECIAL_PIECES
from bert_jax.training.given_model import GivenModel, given_model
from bert_jax.training.metrics import read_metrics
from bert_jax.training.pretraining_settings import PretrainingSettings
from tests.training.test_pretraining import texts

CONFIG = BertConfig(
    vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=32, max_position_embeddings=32,
)  # fmt: skip
USUAL = {
    "steps": 2, "batch_size": 8, "phases": "32:1.0", "heldout_fraction": 0.3, "log_every": 1,
    "eval_every": 0, "learning_rate": 0.01,
}  # fmt: skip


def flat(params):
    return {name: np.asarray(leaf) for name, leaf in flatten_dict(params, sep="/").items()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run, and what came out of it."""
    workdir = tmp_path_factory.mktemp("source") / "run"
    settings = USUAL | {"steps": 30, "vocab_size": 64, "model": CONFIG, "seed": 7}
    return workdir, pretrain(texts(), workdir, **settings)


def start_of(tmp_path, source, parts=PUBLISHED, **changes):
    """What a run would start from, and parameters that were drawn before."""
    settings = PretrainingSettings(**USUAL | {"init_checkpoint": str(source)} | changes)
    given = given_model(settings, parts, tmp_path / "none", None)
    starting = given.with_vocabulary(given.vocabulary)
    cls = BertForMaskedLM if settings.objective == "mlm" else BertForPreTraining
    drawn = split_model(cls(starting.config, nnx.Rngs(0)))[1]
    return starting, flat(drawn), flat(starting.start(drawn))


def own_losses(checkpoint, corpus: Corpus):
    """Masked LM and next sentence loss of a model, by its public face, on the held-out batches."""
    model, settings = BertForPreTraining.from_pretrained(checkpoint), PretrainingSettings(**USUAL)
    nats = {"masked": 0.0, "next": 0.0}
    items = {"masked": 0.0, "next": 0.0}
    for batch in HeldoutBatches(
        corpus.heldout, corpus.tokenizer, length=32, settings=settings.rows(), max_batches=32
    ):
        output = model(
            batch["input_ids"], batch["token_type_ids"], attention_mask=batch["instance_ids"],
            position_ids=batch["position_ids"], cls_positions=batch["cls_positions"],
            masked_positions=batch["masked_positions"],
        )  # fmt: skip
        for name, logits in (("masked", output.mlm_logits), ("next", output.nsp_logits)):
            labels = batch[f"{name}_labels"]
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            nats[name] += float(jnp.sum(loss * batch[f"{name}_weights"]))
            items[name] += float(batch[f"{name}_weights"].sum())
    return {name: nats[name] / items[name] for name in nats}


def test_before_its_first_step_a_run_is_as_good_as_its_source(source, tmp_path):
    workdir, finished = source
    result = pretrain(texts(), tmp_path / "run", init_checkpoint=str(workdir), **USUAL)
    own = own_losses(finished.checkpoint, result.corpus)
    assert result.heldout_start_mlm_loss == pytest.approx(own["masked"], rel=1e-6)
    assert result.heldout_start_mlm_loss == finished.heldout_mlm_loss
    assert result.heldout_start_nsp_accuracy == finished.heldout_nsp_accuracy
    assert result.vocabulary_hash == finished.vocabulary_hash
    saved = json.loads((tmp_path / "run" / "result.json").read_text())
    assert saved["heldout_start_mlm_loss"] == result.heldout_start_mlm_loss
    assert saved["heldout_start_nsp_accuracy"] == result.heldout_start_nsp_accuracy
    assert saved["initialised_from"] == {
        "checkpoint": finished.checkpoint,
        "taken": ["bert/embeddings", "bert/encoder", "bert/pooler", "mlm", "nsp"],
        "drawn": [],
        "left_out": [],
    }
    first, last = read_metrics(tmp_path / "run" / "heldout.jsonl")
    assert (first["step"], first["heldout_mlm_loss"]) == (0, result.heldout_start_mlm_loss)
    assert (last["step"], last["heldout_mlm_loss"]) == (2, result.heldout_mlm_loss)
    assert load_pretrained(result.checkpoint).config == load_pretrained(workdir).config
    assert not (tmp_path / "run" / "vocabulary_move.json").exists()
    Bert.from_pretrained(result.checkpoint)


def test_a_run_that_starts_from_nothing_says_nothing_of_a_start(source):
    workdir, finished = source
    saved = json.loads((workdir / "result.json").read_text())
    assert not [name for name in saved if "start" in name or "initialised" in name]
    assert finished.initialised_from is None and not (workdir / "start.json").exists()


def test_what_is_missing_is_drawn_as_without_a_source_and_said(source, tmp_path, capfd):
    """An encoder alone, as sentence-transformers publishes: no pooler's head, no MLM, no NSP."""
    model = Bert.from_pretrained(source[0])
    model.save_pretrained(tmp_path / "encoder", load_pretrained(source[0]).tokenizer)
    _, drawn, params = start_of(tmp_path, tmp_path / "encoder")
    given = flat(load_pretrained(source[0]).params)
    for name, leaf in params.items():
        expected = drawn if name.startswith(("mlm", "nsp")) else given
        np.testing.assert_array_equal(leaf, expected[name], err_msg=name)
    result = pretrain(texts(), tmp_path / "run", init_checkpoint=str(tmp_path / "encoder"), **USUAL)
    assert result.initialised_from["drawn"] == ["mlm", "nsp"]
    assert result.initialised_from["left_out"] == []
    said = capfd.readouterr().err
    assert (
        f"starting from {tmp_path / 'encoder'}: bert/embeddings, bert/encoder, bert/pooler taken;"
        " mlm, nsp drawn\n"
    ) in said


def test_masked_lm_alone_takes_its_parts(source, tmp_path):
    result = pretrain(
        texts(), tmp_path / "run", init_checkpoint=str(source[0]), objective="mlm", **USUAL
    )
    assert result.initialised_from["left_out"] == ["bert/pooler", "nsp"]
    assert result.initialised_from["drawn"] == []
    assert result.heldout_start_nsp_accuracy is None
    assert "heldout_start_nsp_accuracy" not in result.to_dict()
    written = load_pretrained(result.checkpoint)
    assert written.architecture == "BertForMaskedLM"
    save_huggingface(written, tmp_path / "exported")
    assert BertForMaskedLM.from_pretrained(tmp_path / "exported").bert.config == written.config


def test_an_untied_decoder_begins_as_the_tied_one_it_was(source, tmp_path):
    workdir, finished = source
    result = pretrain(
        texts(), tmp_path / "run", init_checkpoint=str(workdir), untied=True, **USUAL,
        optimizer="row_lazy_adamw",
    )  # fmt: skip
    assert result.heldout_start_mlm_loss == pytest.approx(finished.heldout_mlm_loss, rel=1e-6)
    assert not load_pretrained(result.checkpoint).config.tie_word_embeddings


def test_rows_after_the_last_piece_stay(source, tmp_path):
    """Tables padded to a multiple of something; their rows take part in the softmax."""
    own = load_pretrained(source[0])
    params = flat(own.params)
    for name in ("bert/embeddings/token/table", "mlm/bias"):
        params[name] = np.concatenate([params[name], params[name][:6] + 1])
    padded = dataclasses.replace(
        own, params=unflatten_dict(params, sep="/"), config=own.config.replace(vocab_size=63)
    )
    save_ours(padded, tmp_path / "padded")
    result = pretrain(texts(), tmp_path / "run", init_checkpoint=str(tmp_path / "padded"), **USUAL)
    loss = own_losses(tmp_path / "padded", result.corpus)["masked"]
    assert result.heldout_start_mlm_loss == pytest.approx(loss, rel=1e-6)
    assert loss > source[1].heldout_mlm_loss
    written = load_pretrained(result.checkpoint)
    assert written.config.vocab_size == 63 and written.tokenizer.vocab_size == 57


@pytest.mark.parametrize("untied", [False, True])
def test_rows_bias_and_decoder_move_to_another_vocabulary(source, tmp_path, untied):
    own = load_pretrained(source[0])
    kept = [piece for piece in own.tokenizer.pieces if piece not in ("fox", "dog")]
    assert len(kept) == 55, "the words were learned"
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in ["foxdog", *kept]))
    starting, _, params = start_of(
        tmp_path, source[0], vocab=str(tmp_path / "vocab.txt"), untied=untied
    )
    assert starting.report.dropped == ("fox", "dog") or starting.report.dropped == ("dog", "fox")
    assert list(starting.report.composed) == ["foxdog"]
    given, ids = flat(own.params), {piece: i for i, piece in enumerate(own.tokenizer.pieces)}
    given["mlm/decoder"] = given["bert/embeddings/token/table"]
    names = ["bert/embeddings/token/table", "mlm/bias"] + ["mlm/decoder"] * untied
    for name in names:
        np.testing.assert_array_equal(params[name][1:], given[name][[ids[p] for p in kept]])
        assert params[name].shape[0] == 56
    for name in set(params) - set(names):
        np.testing.assert_array_equal(params[name], given[name], err_msg=name)


def test_a_learned_vocabulary_and_a_report_of_every_piece(source, tmp_path):
    workdir = tmp_path / "run"
    result = pretrain(texts(), workdir, init_checkpoint=str(source[0]), vocab_size=50, **USUAL)
    pieces = result.corpus.tokenizer.pieces
    report = json.loads((workdir / "vocabulary_move.json").read_text())
    assert report["from"] == source[1].checkpoint
    told = [*report["copied"], *report["composed"], *report["unspellable"]]
    assert sorted(told) == sorted(pieces) and len(pieces) == 50
    assert set(report["copied"] + report["dropped"]) == set(source[1].corpus.tokenizer.pieces)
    assert result.initialised_from["vocabulary"] == {
        "before": 57, "after": 50, "copied": len(report["copied"]),
        "composed": len(report["composed"]), "not_spelled": len(report["unspellable"]),
        "dropped": len(report["dropped"]),
    }  # fmt: skip
    written = load_pretrained(workdir)
    assert written.config.vocab_size == 50 and written.tokenizer.pieces == pieces


@pytest.mark.parametrize(
    ("lowercase", "expected"), [(None, (True, False, False)), (False, (False, None, False))]
)
def test_a_learned_vocabulary_treats_text_as_the_model_does(source, tmp_path, lowercase, expected):
    own = load_pretrained(source[0])
    place = broken(source, tmp_path, tokenizer=Tokenizer(own.tokenizer.pieces, True, False, False))
    result = pretrain(
        [*texts(), "Élan. Élan vital."], tmp_path / "run", init_checkpoint=str(place),
        vocab_size=60, lowercase=lowercase, **USUAL,
    )  # fmt: skip
    written = load_pretrained(result.checkpoint).tokenizer
    assert (written.lowercase, written.strip_accents, written.split_chinese) == expected
    assert ("é" in written.pieces) == (lowercase is None)


def test_new_pieces_get_rows_of_those_used_like_them_in_the_corpus():
    fruits, stones = ["apple", "cherry", "plum"], ["granite", "basalt", "flint"]
    words = [*fruits, *stones, "eat", "throw", *(f"w{i}" for i in range(250)), "x", "##q", "##j"]
    old = Tokenizer([*SPECIAL_PIECES, *words])
    new = Tokenizer([*SPECIAL_PIECES, *words, "xqj"])
    sentences = [f"eat {fruit}" for fruit in (*fruits, "xqj")] + [f"throw {s}" for s in stones]
    ids = [new.piece_ids(sentence) for sentence in sentences * 9]
    starts = np.cumsum([0, *map(len, ids)])
    text = Documents(np.concatenate(ids), starts, np.arange(len(starts)))
    token = np.eye(old.vocab_size, dtype=np.float32)
    config = BertConfig.tiny(vocab_size=old.vocab_size)
    params = {"bert": {"embeddings": {"token": {"table": token}}}}
    moved = GivenModel("it", config, params, old, new).with_vocabulary(new, text)
    rows = moved.params["bert"]["embeddings"]["token"]["table"]
    np.testing.assert_array_equal(rows[:-1], token)
    of = dict(zip(old.pieces, rows[-1], strict=True))  # how much of each old row the new one has
    assert min(of[fruit] for fruit in fruits) > 2 * max(of[stone] for stone in stones)
    assert moved.report.by == "regression on spellings and contexts"


def test_pieces_are_added(source, tmp_path):
    (tmp_path / "more.txt").write_text("foxes\nsleepy\n[ENT]\n")
    more = str(tmp_path / "more.txt")
    starting, _, params = start_of(tmp_path, source[0], add_tokens=more)
    before = load_pretrained(source[0])
    assert starting.given.vocabulary.pieces == (
        *before.tokenizer.pieces,
        "foxes",
        "sleepy",
        "[ENT]",
    )
    table = before.params["bert"]["embeddings"]["token"]["table"]
    np.testing.assert_array_equal(params["bert/embeddings/token/table"][:57], table)
    assert params["bert/embeddings/token/table"].shape == (60, 16)
    result = pretrain(
        texts(), tmp_path / "run", init_checkpoint=str(source[0]), add_tokens=more, **USUAL
    )
    assert result.initialised_from["vocabulary"]["copied"] == 57
    tokenizer = load_pretrained(result.checkpoint).tokenizer
    assert tokenizer.encode("The [ENT] sleepy").tokens[1:-1] == ["the", "[ENT]", "sleepy"]


def test_a_corpus_that_is_built_lends_its_vocabulary_only_where_asked(source, tmp_path):
    other = pretrain(texts(), tmp_path / "other", vocab_size=50, model=CONFIG, **USUAL)
    corpus = str(other.corpus.data_dir)
    start = {"init_checkpoint": str(source[0])}
    with pytest.raises(UserError, match=r"built with a different vocabulary from .*vocab\.txt"):
        pretrain(corpus, tmp_path / "run", **USUAL, **start)
    with pytest.raises(UserError, match=r"got vocab_size=50 for the corpus in .*vocab\.txt"):
        pretrain(corpus, tmp_path / "run", vocab_size=50, **USUAL, **start)
    assert not (tmp_path / "run").exists()
    moved = pretrain(corpus, tmp_path / "run", vocab=f"{corpus}/vocab.txt", **USUAL, **start)
    assert moved.vocabulary_hash == other.vocabulary_hash
    kept = pretrain(str(source[1].corpus.data_dir), tmp_path / "kept", **USUAL, **start)
    assert kept.heldout_start_mlm_loss == source[1].heldout_mlm_loss


def test_it_goes_on_without_its_source_and_says_the_same_of_the_start(source, tmp_path):
    own = load_pretrained(source[0])
    save_ours(own, tmp_path / "model")
    start = USUAL | {"init_checkpoint": str(tmp_path / "model"), "vocab_size": 50}
    first = pretrain(texts(), tmp_path / "run", **start)
    (tmp_path / "model").rename(tmp_path / "gone")
    again = pretrain(texts(), tmp_path / "run", **start)
    assert again.resumed_from == 2
    for name in ("initialised_from", "heldout_start_mlm_loss", "heldout_mlm_loss"):
        assert getattr(again, name) == getattr(first, name)


def test_an_audit_goes_on_from_the_table_it_began_with(source, tmp_path):
    class Stop(Callback):
        def on_step(self, step, metrics):
            if step == 3:
                raise InterruptedError

    audited = USUAL | {
        "init_checkpoint": str(source[0]), "audit_every": 1, "checkpoint_every": 1, "steps": 4,
    }  # fmt: skip
    pretrain(texts(), tmp_path / "run", **audited)
    with pytest.raises(InterruptedError):
        pretrain(texts(), tmp_path / "stopped", callbacks=[Stop()], **audited)
    pretrain(texts(), tmp_path / "stopped", **audited)
    whole, stopped = (np.load(tmp_path / run / "audit.npz") for run in ("run", "stopped"))
    for name in whole.files:
        np.testing.assert_array_equal(stopped[name], whole[name], err_msg=name)
    assert 0 < whole["drift"].max() < 1  # of a table that the run began with, not of a drawn one


def test_a_branch_says_what_the_run_began_with(source, tmp_path):
    wsd = USUAL | {
        "init_checkpoint": str(source[0]), "schedule": "wsd", "warmup": 0, "decay": 1,
        "checkpoint_every": 1,
    }  # fmt: skip
    run = pretrain(texts(), tmp_path / "run", **wsd)
    branch = str(tmp_path / "run" / "checkpoints" / "1")
    branched = pretrain(texts(), tmp_path / "branch", branch_from=branch, **wsd)
    for name in ("initialised_from", "heldout_start_mlm_loss", "heldout_mlm_loss"):
        assert getattr(branched, name) == getattr(run, name)
    with pytest.raises(
        UserError, match=r"got init_checkpoint=.* for a branch of .*=None; expected"
    ):
        pretrain(texts(), tmp_path / "no", branch_from=f"{source[1].checkpoint}", **wsd)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("mini", "got model=mini with num_hidden_layers=4, but num_hidden_layers=1 in init_check"),
        (CONFIG.replace(hidden_act="relu"), "got model=BertConfig with hidden_act=relu, but"),
        (CONFIG.replace(vocab_size=99), None),
    ],
)
def test_a_model_that_is_named_too_must_be_the_same(source, tmp_path, model, named):
    if named is None:
        start_of(tmp_path, source[0], model=model)
        return
    with pytest.raises(UserError, match=named):
        start_of(tmp_path, source[0], model=model)


def broken(source, tmp_path, **changes):
    own = dataclasses.replace(load_pretrained(source[0]), **changes)
    save_ours(own, tmp_path / "broken")
    return tmp_path / "broken"


def test_weights_that_are_not_finite_are_named(source, tmp_path):
    params = flat(load_pretrained(source[0]).params)
    params["mlm/bias"] = np.full_like(params["mlm/bias"], np.nan)
    place = broken(source, tmp_path, params=unflatten_dict(params, sep="/"))
    with pytest.raises(
        UserError, match=f"got {place} with NaN or infinite values in mlm/bias; exp"
    ):
        start_of(tmp_path, place)


def test_a_vocabulary_is_inside_or_given(source, tmp_path):
    tokenizer = load_pretrained(source[0]).tokenizer
    place = broken(source, tmp_path, tokenizer=None)
    with pytest.raises(UserError, match=r"has no vocabulary \(no tokenizer: .*expected vocab=FILE"):
        start_of(tmp_path, place)
    tokenizer.save(tmp_path / "own.txt")
    starting, _, _ = start_of(tmp_path, place, vocab=str(tmp_path / "own.txt"))
    assert starting.report is None
    (tmp_path / "short.txt").write_text("".join(f"{p}\n" for p in tokenizer.pieces[:-1]))
    with pytest.raises(UserError, match=r"of 56 pieces for init_checkpoint=.* has 57 rows and no"):
        start_of(tmp_path, place, vocab=str(tmp_path / "short.txt"))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("foxes\n\nwolf\n", "with a blank line 2; expected one piece per line"),
        ("", "with nothing in it; expected one piece per line"),
        ("foxes\nfox\n", "got the piece 'fox', which already exists; expected new ones"),
        ("foxes\nfoxes\n", "got the piece 'foxes' twice"),
        ("red fox\n", "got the piece 'red fox', which text is never split into"),
    ],
)
def test_pieces_that_cannot_be_added_are_named(source, tmp_path, content, named):
    (tmp_path / "more.txt").write_text(content)
    with pytest.raises(UserError, match=named) as caught:
        start_of(tmp_path, source[0], add_tokens=str(tmp_path / "more.txt"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"add_tokens": "more.txt"}, "got add_tokens=more.txt alone; expected init_checkpoint="),
        ({"init_checkpoint": "m", "init_embeddings": "t"}, "got init_checkpoint=m and `init_emb"),
        ({"init_checkpoint": "m", "init_parts": ("token",)}, "got init_checkpoint=m and `init_pa"),
        ({"init_checkpoint": "m", "vocab": "v", "vocab_size": 9}, "got vocab=v and vocab_size=9 w"),
    ],
)
def test_two_starts_or_two_vocabularies_are_refused_at_once(settings, named):
    with pytest.raises(UserError, match=named):
        PretrainingSettings(**settings)


def test_pairs_need_two_kinds_of_segment(source, tmp_path):
    own = load_pretrained(source[0])
    params = flat(own.params)
    params["bert/embeddings/segment/table"] = params["bert/embeddings/segment/table"][:1]
    place = broken(
        source,
        tmp_path,
        params=unflatten_dict(params, sep="/"),
        config=own.config.replace(type_vocab_size=1),
    )
    with pytest.raises(UserError, match=r"kinds of segment, for a model of 1; expected objective="):
        start_of(tmp_path, place)
    start_of(tmp_path, place, objective="mlm")


def test_text_that_stays_as_it_is_written_is_not_lower_cased(source, tmp_path):
    own = load_pretrained(source[0]).tokenizer
    place = broken(source, tmp_path, tokenizer=Tokenizer(own.pieces, splitting="spaces"))
    with pytest.raises(UserError, match="got lowercase=True with splitting='spaces', by which"):
        start_of(tmp_path, place, lowercase=True, vocab_size=99)
