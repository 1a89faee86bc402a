"""The public functions, called wrongly once: a line that names the argument, no TypeError."""

import numpy as np
import pytest
from flax import nnx

import bert_jax as bj
from bert_jax.analysis import find_outlier
from bert_jax.arguments import known_names, strings, whole_number
from bert_jax.errors import UserError
from tests.text.vocabulary import small_tokenizer

TOKENIZER = small_tokenizer()
CONFIG = bj.BertConfig(
    vocab_size=TOKENIZER.vocab_size, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=16, max_position_embeddings=32,
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arguments") / "model"
    bj.BertForMaskedLM(CONFIG, nnx.Rngs(0)).save_pretrained(folder, TOKENIZER)
    return str(folder)


@pytest.fixture(scope="module")
def tables(model):
    return bj.load_tables(model)


A_PATH = "expected the path of a checkpoint, or a name on the Hugging Face hub"
TABLES = "expected embedding tables, as load_tables gives them"
CASES = {
    # of tables
    "neighbours of a path": (lambda m, t: bj.neighbours(m, ["the"]), TABLES),
    "neighbours of None": (lambda m, t: bj.neighbours(t, None), "got words=None; expected words"),
    "neighbours of numbers": (lambda m, t: bj.neighbours(t, [1]), "got 1 as item 1 of words"),
    "k = 2.5": (lambda m, t: bj.neighbours(t, "the", k=2.5), "got k=2.5; expected a whole number"),
    "k = -1": (lambda m, t: bj.neighbours(t, "the", k=-1), "got k=-1; expected a whole number"),
    "similarity of a path": (lambda m, t: bj.word_similarity(m, "x.txt"), TABLES),
    "similarity, no pairs": (lambda m, t: bj.word_similarity(t, None), "got path=None; expected"),
    "represent a text": (lambda m, t: bj.represent(t, "the"), "got encoding='the'; expected an en"),
    "represent in a path": (lambda m, t: bj.represent(m, TOKENIZER.encode("the")), TABLES),
    "load_tables(None)": (lambda m, t: bj.load_tables(None), "got source=None; expected the path"),
    "load_tables('')": (lambda m, t: bj.load_tables(""), "got source='', an empty name"),
    "save a path": (lambda m, t: bj.save_tables(m, "a.npz"), TABLES),
    "save nowhere": (lambda m, t: bj.save_tables(t, None), "got path=None; expected a path"),
    "inspect nothing": (lambda m, t: bj.inspect_embeddings(None), "got checkpoint=None; expected"),
    "compare names": (lambda m, t: bj.compare_tables("a", "b", np.arange(2)), "got a='a'; expecte"),
    "outlier of words": (lambda m, t: find_outlier(["a", "b", "c"]), "a list; expected an array"),
    # of models
    "from_pretrained(None)": (lambda m, t: bj.Bert.from_pretrained(None), A_PATH),
    "from_pretrained('')": (lambda m, t: bj.Bert.from_pretrained(""), "got source='', an empty"),
    "from_pretrained(config)": (lambda m, t: bj.Bert.from_pretrained(CONFIG), "a BertConfig; exp"),
    "load_pretrained(3)": (lambda m, t: bj.load_pretrained(3), "got source=3; expected the path"),
    "num_labels of masked LM": (
        lambda m, t: bj.BertForMaskedLM.from_pretrained(m, num_labels=3),
        "got 'num_labels', which BertForMaskedLM lacks; expected",
    ),
    "hiden_size": (lambda m, t: bj.Bert.from_pretrained(m, hiden_size=3), "expected hidden_size"),
    "num_labels='3'": (
        lambda m, t: bj.BertForSequenceClassification.from_pretrained(m, num_labels="3"),
        "got num_labels='3'; expected how many classes there are",
    ),
    "dtype": (lambda m, t: bj.Bert.from_pretrained(m, dtype="flot32"), "got dtype='flot32'; expec"),
    "config.replace": (lambda m, t: CONFIG.replace(hiden=3), "which BertConfig lacks; expected hi"),
    "from_json(None)": (lambda m, t: bj.BertConfig.from_json(None), "got path=None; expected a co"),
    "Bert of a name": (lambda m, t: bj.Bert("base", nnx.Rngs(0)), "got config='base'; expected a "),
    "save_pretrained(None)": (
        lambda m, t: bj.Bert(CONFIG, nnx.Rngs(0)).save_pretrained(None), "got directory=None",
    ),
    "a tokenizer by name": (
        lambda m, t: bj.Bert(CONFIG, nnx.Rngs(0)).save_pretrained("x", "vocab.txt"),
        "got tokenizer='vocab.txt'; expected a Tokenizer",
    ),
    "Tokenizer of None": (lambda m, t: bj.Tokenizer.from_pretrained(None), A_PATH),
    # of text and training
    "open_source(None)": (lambda m, t: bj.open_source(None), "got inputs=None; expected names of"),
    "open_source([3])": (lambda m, t: bj.open_source([3]), "got 3 as item 1 of inputs; expected"),
    "learn from None": (lambda m, t: bj.learn_vocabulary(None, 50), "got source=None; expected te"),
    "vocab_size='50'": (lambda m, t: bj.learn_vocabulary(["a"], "50"), "got vocab_size='50'; exp"),
    "pretrain on None": (lambda m, t: bj.pretrain(None, "w"), "got corpus=None; expected the name"),
    "pretrain on 3": (lambda m, t: bj.pretrain(3, "w"), "got corpus=3; expected the name of files"),
    "pretrain on [None]": (lambda m, t: bj.pretrain([None], "w"), "got NoneType as text 1; expect"),
    "no workdir": (lambda m, t: bj.pretrain(["a"], None), "got workdir=None; expected a path"),
    "step=3": (lambda m, t: bj.pretrain(["a"], "w", step=3), "got 'step', which PretrainingSettin"),
    "steps='3'": (lambda m, t: bj.pretrain(["a"], "w", steps="3"), "expected a whole number"),
    "a function as callbacks": (
        lambda m, t: bj.pretrain(["a"], "w", callbacks=print), "function print>, a builtin_functio",
    ),
    "a list of functions": (
        lambda m, t: bj.pretrain(["a"], "w", callbacks=[print]), "expected a list of objects of Ca",
    ),
    "audit of None": (lambda m, t: bj.audit_updates(None), "got corpus=None; expected a corpus"),
    # of tasks
    "epoch=3": (lambda m, t: bj.finetune("qa", epoch=3), "Settings lacks; expected epochs"),
    "task=3": (lambda m, t: bj.finetune(3), "got task=3; expected a text"),
    "checkpoint=3": (lambda m, t: bj.finetune("qa", checkpoint=3), "got checkpoint=3; expected a "),
    "train=3": (lambda m, t: bj.finetune("qa", train=3), "got train=3; expected the path of a fil"),
    "train of a generator": (
        lambda m, t: bj.finetune("qa", train=(x for x in "ab")), "a generator; expected the path",
    ),
    "seeds=3": (lambda m, t: bj.finetune("qa", seeds=3), "got seeds=3; expected a list of whole"),
    "max_length=2.5": (lambda m, t: bj.finetune("qa", max_length=2.5), "got max_length=2.5; expec"),
    "Predictor of None": (lambda m, t: bj.Predictor.from_pretrained(None), A_PATH),
    # of inference
    "MaskFiller of None": (lambda m, t: bj.MaskFiller.from_pretrained(None), A_PATH),
    "MaskFiller k='3'": (lambda m, t: bj.MaskFiller.from_pretrained(m, k="3"), "got k='3'; expect"),
    "fill None": (lambda m, t: bj.MaskFiller.from_pretrained(m)(None), "got texts=None; expected "),
    "fill numbers": (lambda m, t: bj.MaskFiller.from_pretrained(m)([3]), "got 3 as item 1 of text"),
    "layers='all'": (lambda m, t: bj.FeatureExtractor.from_pretrained(m, "all"), "got layers='a'"),
    "extract 3": (lambda m, t: bj.FeatureExtractor.from_pretrained(m)(3), "got texts=3; expected "),
    "extract [3]": (lambda m, t: bj.FeatureExtractor.from_pretrained(m)([3]), "got 3 as item 1 of"),
    "half a piece": (
        lambda m, t: bj.FeatureExtractor.from_pretrained(m, max_length=2.5), "got max_length=2.5",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_argument_is_one_line(case, model, tables, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, message = CASES[case]
    with pytest.raises(UserError) as caught:
        call(model, tables)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_string_is_one_word(tables):
    assert bj.neighbours(tables, "the", k=2) == bj.neighbours(tables, ["the"], k=2)


def test_the_checks_themselves():
    assert strings("texts", "one") == ["one"] and strings("texts", iter("ab")) == ["a", "b"]
    assert whole_number("k", np.int32(3)) == 3
    for wrong in (True, 2.0, "3", None, 0):
        with pytest.raises(UserError, match="expected a whole number of at least 1"):
            whole_number("k", wrong)
    with pytest.raises(UserError, match="got 'x', which it lacks; expected a, b"):
        known_names(["b", "x"], ["b", "a"], "it")
