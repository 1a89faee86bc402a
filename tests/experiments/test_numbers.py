"""Every numeric flag of every job, with numbers that cannot be and others that are very large."""

import contextlib
import importlib
import io
import re
import sys

import pytest
from absl import flags
from absl.testing import flagsaver

from bert_jax import Bert
from bert_jax.arguments import LARGEST, MOST, MOST_SEED
from bert_jax.cli import command
from bert_jax.cli.command import whole_numbers
from bert_jax.cli.main import find_jobs
from bert_jax.config import BertConfig
from bert_jax.convert.ours import save_ours
from bert_jax.errors import UserError
from bert_jax.memory import check_fits, check_sizes, machine_bytes
from bert_jax.tasks.finetuning import FinetuningSettings
from bert_jax.training.pretraining_settings import PretrainingSettings
from tests.convert.models import pretrained, tokenizer
from tests.experiments.finetuning import write_checkpoint, write_texts
from tests.faults.runs import write_text
from tests.tasks.examples import save_finetuned

NUMBERS = ("nan", "inf", "-inf", "-1", "0", 10**9, 10**18, 2**63)
IMPOSSIBLE = ("nan", "inf", "-inf")

# Of each job: the flags it needs, and where its long work begins, which the test does not do. A
# job that is not here is stopped where `main` begins: its flags alone are looked at.
_TINY = ("--workdir=run", "--corpus=text", "--batch_size=4", "--length=16")
JOBS = {
    "ablate_embeddings": (_TINY, "experiments.ablate_embeddings.prepare_corpus"),
    "audit_updates": (_TINY, "experiments.audit_updates.prepare_corpus"),
    "build_corpus": (
        ("--data_dir=run", "--input=text", "--vocab=vocab.txt", "--workers=1"),
        "bert_jax.data.corpus.tokenise_all",
    ),
    "edit_embeddings": (("--input=model", "--output=run.npz", "--overwrite"), None),
    "extract_features": (
        ("--checkpoint=model", "--input=texts.txt", "--output=run.npz", "--overwrite"),
        "bert_jax.inference.features.FeatureExtractor.extract",
    ),
    "fill_mask": (("--checkpoint=whole", "[MASK]"), "bert_jax.inference.fill_mask.MaskFiller.fill"),
    "finetune": (
        ("--workdir=run", "--checkpoint=model", "--task=classification", "--train=train.tsv",
         "--max_length=16"),
        "bert_jax.tasks.finetuning.run_seed",
    ),
    "first_attention": (
        ("--checkpoint=whole", "--input=texts.txt", "--workdir=looked"),
        "bert_jax.analysis.first_attention.FirstAttention.measure",
    ),
    "inspect_embeddings": (
        ("--checkpoint=whole", "--workdir=run"),
        "experiments.inspect_embeddings.inspect_embeddings",
    ),
    "learn_vocab": (
        ("--input=text", "--output=run.txt", "--vocab_size=99", "--overwrite"),
        "bert_jax.text.wordpiece_learner.count_words",
    ),
    "minimal_pairs": (
        ("--checkpoint=whole", "--pairs=pairs.jsonl", "--workdir=judged"),
        "bert_jax.inference.sentence_scores.SentenceScorer.score",
    ),
    "predict": (
        ("--checkpoint=finetuned", "--input=texts.txt"),
        "bert_jax.tasks.predictor.Predictor.stream",
    ),
    "pretrain": (
        ("--workdir=run", "--corpus=text", "--batch_size=8", "--phases=32:1.0", "--steps=4",
         "--vocab_size=64"),
        "bert_jax.training.pretraining.prepare_corpus",
    ),
    "score_sentences": (
        ("--checkpoint=whole", "--input=texts.txt"),
        "bert_jax.inference.sentence_scores.SentenceScorer.score",
    ),
    "vocabulary_study": (_TINY, "experiments.vocabulary_study.open_source"),
}  # fmt: skip


class Begun(BaseException):
    """The door was passed, and the work would begin."""


def begin(*_, **__):
    raise Begun


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the jobs are given."""
    folder = tmp_path_factory.mktemp("numbers")
    (folder / "text").mkdir()
    write_text(folder / "text")
    write_checkpoint(folder)
    write_texts(folder)
    save_ours(pretrained("BertForPreTraining", tokenizer(), max_position_embeddings=32),
              folder / "whole")  # fmt: skip
    (folder / "vocab.txt").write_text("\n".join(tokenizer().pieces) + "\n")
    save_finetuned(folder / "finetuned", "one text")
    (folder / "texts.txt").write_text("how are you\n")
    pair = '{"sentence_good": "un read", "sentence_bad": "un"}\n'
    (folder / "pairs.jsonl").write_text(pair)
    return folder


@contextlib.contextmanager
def job(name):
    """The module of a job, with a table of flags of its own."""
    before, modules = dict(flags.FLAGS.__dict__), dict(sys.modules)
    own = flags.FlagValues()
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module.partition(".")[0] == "absl":
            for flag in defined:
                own[flag.name] = flag
                own.register_flag_by_module(module, flag)
    for module in list(sys.modules):
        if module.partition(".")[0] in ("experiments", "launch"):
            del sys.modules[module]
    flags.FLAGS.__dict__.update(own.__dict__)
    try:
        yield importlib.import_module(find_jobs()[name].module)
    finally:
        flags.FLAGS.__dict__.update(before)
        for module in set(sys.modules) - set(modules):
            if module.partition(".")[0] in ("experiments", "launch"):
                del sys.modules[module]
        sys.modules.update(modules)


def numeric_flags():
    """Their names, and whether they are whole."""
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module.partition(".")[0] != "absl":
            for flag in defined:
                kind = type(flag.parser).__name__
                if "Integer" in kind or "Float" in kind:
                    yield flag.name, "Integer" in kind


def texts_that_are_wanted():
    """Some text for every flag that has none by default, since it may be wanted."""
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module.partition(".")[0] != "absl":
            for flag in defined:
                if flag.default is None and type(flag.parser) is flags.ArgumentParser:
                    yield f"--{flag.name}=some"


def outcome(main, arguments, takes):
    """Exit status, or "begun"; and what was said."""
    sys.argv, errors = ["experiments/job.py", *arguments], io.StringIO()
    unseen = contextlib.redirect_stdout(io.StringIO())
    with flagsaver.flagsaver(), contextlib.redirect_stderr(errors), unseen:
        try:
            command.run(main, takes)
        except Begun:
            return "begun", errors.getvalue()
        except SystemExit as stopped:
            return stopped.code, errors.getvalue()
    return 0, errors.getvalue()


@pytest.mark.parametrize("name", find_jobs())
def test_a_number_is_refused_in_one_line_or_runs(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", sys.argv)
    with job(name) as module:
        given, begins = JOBS.get(name, ((), None))
        main = module.main
        if name not in JOBS:
            main, given = begin, list(texts_that_are_wanted())
        elif begins is not None:
            monkeypatch.setattr(begins, begin)
        takes = "[TEXT …]" if name == "fill_mask" else ""
        for flag, whole in list(numeric_flags()):
            for number in NUMBERS:
                kept = [each for each in given if not each.startswith(f"--{flag}=")]
                status, said = outcome(main, [*kept, f"--{flag}={number}"], takes)
                case = f"{name} --{flag}={number}: {status} {said}"
                if number in IMPOSSIBLE or (whole and number in (10**18, 2**63)):
                    assert status == 2, case
                    assert f"--{flag}={number}" in said, case
                assert status in (2, 0, "begun"), case
                if status == 2:
                    line = [each for each in said.splitlines() if each.startswith("experiments.")]
                    assert len(line) == 1 and "Traceback" not in said, case


def test_a_large_number_that_would_not_fit_the_machine_is_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name, flag in (
        ("ablate_embeddings", "vocab_size"), ("ablate_embeddings", "width"),
        ("ablate_embeddings", "layers"), ("audit_updates", "vocab_size"),
        ("audit_updates", "batch_size"), ("vocabulary_study", "batch_size"),
        ("build_corpus", "workers"), ("edit_embeddings", "positions"),
        ("edit_embeddings", "segments"), ("edit_embeddings", "vocab_size"),
        ("extract_features", "batch_size"), ("fill_mask", "batch_size"),
        ("finetune", "batch_size"), ("learn_vocab", "workers"), ("learn_vocab", "unused_rows"),
        ("predict", "batch_rows"), ("pretrain", "vocab_size"), ("pretrain", "batch_size"),
        ("pretrain", "loader_workers"), ("score_sentences", "batch_size"),
        ("minimal_pairs", "batch_size"),
    ):  # fmt: skip
        with job(name) as module, monkeypatch.context() as patched:
            given, begins = JOBS[name]
            if begins is not None:
                patched.setattr(begins, begin)
            kept = [each for each in given if not each.startswith(f"--{flag}=")]
            takes = "[TEXT …]" if name == "fill_mask" else ""
            status, said = outcome(module.main, [*kept, f"--{flag}={10**9 // 64 * 64}"], takes)
            assert status == 2, (name, flag, said)
            assert re.search("which takes at least .* GiB of memory; expected|at most", said), said


def test_what_fits_is_let_in_and_what_does_not_is_named(monkeypatch):
    monkeypatch.setattr("bert_jax.memory.machine_bytes", lambda: 2**30)
    check_fits(2**30, "rows=8")
    with pytest.raises(UserError, match=r"got rows=9, which takes at least 1\.0 GiB of memory"):
        check_fits(2**30 + 1, "rows=9")
    tiny = BertConfig.tiny()
    check_sizes(tiny, 64, 128)
    with pytest.raises(UserError, match="got vocab_size=4000000 and hidden_size=128, which takes"):
        check_sizes(tiny.replace(vocab_size=4_000_000), 64, 128)
    with pytest.raises(UserError, match="got batch_size=100000, which takes at least 6"):
        check_sizes(tiny, 100_000, 128)
    monkeypatch.setattr("bert_jax.memory.machine_bytes", lambda: None)  # it does not say
    check_fits(2**60, "rows=10")


def test_the_memory_of_a_container_is_its_limit(monkeypatch, tmp_path):
    whole = machine_bytes()
    assert whole > 2**28
    for text, expected in (("268435456\n", 2**28), ("max\n", whole), (str(2**63), whole)):
        (tmp_path / "memory.max").write_text(text)
        monkeypatch.setattr("bert_jax.memory._CONTAINER_LIMITS", (tmp_path / "memory.max",))
        assert machine_bytes() == expected


@pytest.mark.parametrize("seeds", ["4294967296", "9" * 5000, "-1", "1.0", "nan", ""])
def test_a_list_of_seeds_is_of_32_bits(seeds):
    with pytest.raises(UserError, match=f"got --seeds={seeds}; expected whole numbers of at least"):
        whole_numbers("seeds", seeds.split(","), 0, MOST_SEED)
    assert whole_numbers("seeds", ["0", "4294967295"], 0, MOST_SEED) == [0, MOST_SEED]


def test_a_seed_that_would_repeat_another_is_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for make in (
        lambda seed: Bert.from_pretrained("model", seed=seed),
        lambda seed: PretrainingSettings(seed=seed),
        lambda seed: FinetuningSettings(seeds=[seed]),
    ):
        with pytest.raises(UserError, match=r"seeds?=4294967296; expected at most 4294967295"):
            make(2**32)


def test_the_ranges_are_those_of_32_bits():
    assert (MOST, MOST_SEED) == (2147483647, 4294967295)
    assert LARGEST == 3.4028234663852886e38
