"""Every flag of pretrain, wrong on purpose: one line, status 2, nothing left behind."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from bert_jax.convert.ours import save_ours
from bert_jax.data.corpus import build_corpus
from bert_jax.data.sources import open_source
from bert_jax.tables.storage import save_tables
from tests.convert.models import pretrained, tokenizer
from tests.faults.runs import REPOSITORY, write_text
from tests.tables.examples import tables_of, vocabulary

# One process for all cases, since importing jax takes seconds: in the flags, out what happened.
_ALL_CASES = """
import contextlib, io, json, sys
from absl.testing import flagsaver
from bert_jax.cli import command
from experiments import pretrain
outcomes = []
for arguments in json.load(sys.stdin):
    sys.argv, errors, status = ["pretrain.py", *arguments], io.StringIO(), 0
    with flagsaver.flagsaver(), contextlib.redirect_stderr(errors):
        try:
            command.run(pretrain.main)
        except SystemExit as stopped:
            status = stopped.code
    outcomes.append([status, errors.getvalue()])
print(json.dumps(outcomes))
"""

CASES = {
    "--corpus=nowhere.txt": "got input 'nowhere.txt', where there is no file; expected python_docs",
    "--corpus=one.txt": "got 1 document, all in one split; expected at least two different ones",
    "--corpus=binary.bin": "binary.bin",
    "--vocab=nowhere.txt": "got vocabulary 'nowhere.txt', which cannot be read",
    "--vocab=": "got --vocab= without a value; expected one, or no --vocab",
    "--vocab=other.txt --vocab_size=9": "got --vocab=other.txt and --vocab_size=9; expected one of",
    "--splitting=": "got --splitting= without a value; expected one, or no --splitting",
    "--branch_from=": "got --branch_from= without a value; expected one, or",
    "--init_checkpoint=": "got --init_checkpoint= without a value; expected one",
    "--splitting=space": "got --splitting='space'; expected words, spaces or a regular expression",
    "--splitting=spaces --lowercase": "got --lowercase=True with --splitting='spaces', by which",
    "--vocab_size=7": "got vocabulary size 7; expected at least",
    "--vocab_size=0": "flag --vocab_size=0: 0 is not a positive integer",
    "--heldout_fraction=1.5": "got --heldout_fraction=1.5; expected a share above 0 and below 1",
    "--heldout_fraction=0": "got --heldout_fraction=0.0; expected a share above 0 and below 1",
    "--model=huge": "got --model=huge; expected a config.json or one of tiny, mini, small, medium",
    "--model=nowhere.json": "nowhere.json",
    "--model=broken.json": "broken.json",
    "--steps=0": "flag --steps=0: 0 is not a positive integer",
    "--batch_size=3": "got --batch_size=3; expected a multiple of 8",
    "--accumulate=3": "got --batch_size=8; expected a multiple of 24",
    "--phases=128": "got --phases=128; expected length:share pairs",
    "--phases=32:0.5": "--phases=32:0.5; expected length:share pairs whose positive shares add up",
    "--phases=32:nan": "--phases=32:nan; expected length:share pairs whose positive shares add up",
    "--warmup=inf": "--warmup=inf; expected a finite number",
    "--learning_rate=inf": "--learning_rate=inf; expected a finite number",
    "--phases=1024:1.0": "got --phases=1024:1.0, rows of 1024 tokens; expected at most the model's",
    "--phases=4:1.0": "expected at least 5",
    "--pack=0": "flag --pack=0: 0 is not a positive integer",
    "--masking=word": "flag --masking=word: value should be one of <token|whole_word|span>",
    "--objective=nsp": "flag --objective=nsp: value should be one of <mlm+nsp|mlm>",
    "--mask_rate=some": "got --mask_rate=some; expected a share above 0 and below 1",
    "--mask_rate=0.3:0.2:0.1": "got --mask_rate=0.3:0.2:0.1; expected a share",
    "--mask_rate=1.5": "got --mask_rate=1.5; expected a share above 0 and below 1",
    "--mask_rate=0.3:0": "got --mask_rate=0.3:0; expected a share above 0 and below 1",
    "--mask_fraction=0.95": "got --mask_fraction=0.95, --random_fraction=0.1; expected shares",
    "--random_fraction=-0.1": "--random_fraction=-0.1; expected shares that add up to at most 1",
    "--optimizer=sgdd": "flag --optimizer=sgdd: value should be one of <adamw|bert_adam|",
    "--optimizer=row_lazy_adamw": "got a row-lazy optimiser with a tied decoder, whose gradient",
    "--untied=perhaps": "Non-boolean argument to boolean flag",
    "--learning_rate=fast": "got --learning_rate=fast; expected a number",
    "--schedule=step": "flag --schedule=step: value should be one of <linear|polynomial|cosine|",
    "--schedule=linear --decay_power=2": "got a linear schedule with a decay of power 2.0;",
    "--schedule=cosine --decay_power=2": "got a cosine schedule with a decay of power 2.0;",
    "--schedule=constant --decay_power=0": "got a constant schedule with a decay of power 0.0;",
    "--schedule=wsd --decay=1.5": "got --decay=1.5; expected a whole number of steps, or a share",
    "--warmup=1.5": "got --warmup=1.5; expected a whole number of steps, or a share below 1",
    "--schedule=wsd --decay=9": "got a decay of 9 steps in a run of 4; expected 0 to 4",
    "--schedule=wsd --decay=3 --warmup=2": "got a warm-up of 2 and a decay of 3 steps in a run of",
    "--branch_from=nowhere": "got --branch_from=nowhere, which is not a checkpoint in the workdir",
    "--warmup=9": "got a warm-up of 9 steps in a run of 4; expected 0 to 4",
    "--weight_decay=-1": "flag --weight_decay=-1",
    "--clip_norm=-1": "flag --clip_norm=-1",
    "--dtype=float16": "flag --dtype=float16: value should be one of <float32|bfloat16>",
    "--seed=-1": "flag --seed=-1",
    "--init_embeddings=nowhere.npz": "got 'nowhere.npz', which cannot be read (No such file",
    "--init_embeddings=nowhere/at/all": "got 'nowhere/at/all', which does not exist; expected",
    "--init_embeddings=text": "got text, which is not a checkpoint; expected a workdir or",
    "--init_embeddings=narrow.npz": "got embedding tables of width 8 for a model of width 128",
    "--init_embeddings=short.npz": "got a position table of 64 rows for a model that has 512",
    "--init_embeddings=nameless.npz": "tables without a vocabulary; expected ones that say which",
    "--init_embeddings=fits.npz --vocab=other.txt": "that does not belong to the embedding tables",
    "--init_embeddings=fits.npz --vocab=fits.txt --lowercase=false": "with --lowercase=False for",
    "--init_embeddings=fits.npz --lowercase=false": "got --lowercase=False, but the vocabulary of",
    "--init_embeddings=fits.npz --init_parts=words": "got --init_parts=words; expected some of",
    "--init_embeddings=short.npz --init_parts=position": "got a position table of 64 rows",
    "--init_parts=token": "got --init_parts=token alone; expected --init_embeddings=PATH",
    "--freeze=token,positions": "got --freeze=token,positions; expected some of token, segment,",
    "--freeze=layers:some": "got --freeze=layers:some; expected some of token, segment, position,",
    "--freeze=layers:3": "got --freeze=layers:3 for a model of 2 layers; expected at most layers:2",
    "--init_checkpoint=nowhere/at/all": "got 'nowhere/at/all', which does not exist; expected",
    "--init_checkpoint=text": "got text, which is not a checkpoint; expected a workdir or",
    "--init_checkpoint=nameless": "got --init_checkpoint=nameless, which has no vocabulary (",
    "--init_checkpoint=nameless --vocab=other.txt": "got --vocab=other.txt of 7 pieces for --init_",
    "--init_checkpoint=broken": "got broken with NaN or infinite values in mlm/b",
    "--init_checkpoint=whole --model=tiny": "got --model=tiny with hidden_size=128, but hidden_siz",
    "--init_checkpoint=whole --phases=64:1.0": "at most the model's 32 positions, or a model with",
    "--corpus=built --nolowercase": "got --lowercase=False, but the corpus in built was made with",
    "--init_checkpoint=whole"
    " --corpus=built": "got the corpus in built, which was built with a diff",
    "--init_checkpoint=whole --corpus=built --vocab_size=64": "expected --vocab=built/vocab.txt",
    "--init_checkpoint=whole --vocab=other.txt --vocab_size=9": "got --vocab=other.txt and --vocab",
    "--init_checkpoint=whole --vocab_size=7": "got vocabulary size 7; expected at least",
    "--init_checkpoint=whole --lowercase=false": "got --lowercase=False, but the vocabulary of --i",
    "--init_checkpoint=whole --add_tokens=nowhere.txt": "got --add_tokens=nowhere.txt, which canno",
    "--init_checkpoint=whole --add_tokens=blank.txt": "got --add_tokens=blank.txt with a blank lin",
    "--init_checkpoint=whole --add_tokens=empty.txt": "got --add_tokens=empty.txt with nothing in ",
    "--init_checkpoint=whole --add_tokens=there.txt": "got the piece 'read', which already exist",
    "--init_checkpoint=whole --init_embeddings=fits.npz": "and --init_embeddings; expected one of ",
    "--init_checkpoint=whole --init_parts=token": "and --init_parts; expected one of them",
    "--init_checkpoint=whole --branch_from=nowhere": "got --branch_from=nowhere, which is not a c",
    "--add_tokens=there.txt": "got --add_tokens=there.txt alone; expected --init_checkpoint=MODEL",
    "--mesh=data:3": "got mesh dcn:1 x data:3 x fsdp:1 x tensor:1; expected sizes whose product is",
    "--mesh=rows:8": "got mesh axis 'rows'; expected dcn, data, fsdp",
    "--mesh=8": "got mesh '8'; expected axis:size pairs",
    "--processes=0": "flag --processes=0: 0 is not a positive integer",
    "--process_id=-1": "flag --process_id=-1",
    "--coordinator=10.0.0.1:8476": "--processes=None --process_id=None; expected all three",
    "--coordinator=here --processes=2 --process_id=0": "got --coordinator=here; expected host:port",
    "--coordinator=h:1 --processes=2 --process_id=2": "got --process_id=2 of --processes=2",
    "--distributed --processes=2": "got --distributed with --coordinator, --processes or",
    "--attention=ring": "flag --attention=ring: value should be one of <auto|einsum|flash|fused",
    "--attention=flash": "got --attention=flash on cpu devices; expected an NVIDIA GPU or a TPU",
    "--attention=splash": "expected --attention=auto, or that rate to be 0",
    "--hidden_dropout=1": "flag --hidden_dropout=1: 1.0 is not a number in the range",
    "--attention_dropout=1": "flag --attention_dropout=1: 1.0 is not a number in the range",
    "--attention=fused": "got --attention=fused, which drops no attention weights, for a model",
    "--remat=some": "flag --remat=some: value should be one of <none|products|layers>",
    "--keep=0": "flag --keep=0",
    "--audit_every=-1": "flag --audit_every=-1",
    "--eval_batches=0": "flag --eval_batches=0",
    "--workdir=text/0.txt/run": "got --workdir=text/0.txt/run, which cannot be written",
    "--stpes=9": "Unknown command line flag 'stpes'. Did you mean: steps ?",
    "steps=9": "got 'steps=9' besides the flags; expected --name=value only",
}


def write_tables(folder):
    """Tables that fit the model, and some that do not."""
    tokenizer = vocabulary(["a", "b"])
    fits = tables_of(tokenizer, width=128, positions=512)
    save_tables(fits, folder / "fits.npz")
    save_tables(fits, folder / "fits.txt")
    save_tables(tables_of(vocabulary(["b", "a"])), folder / "other.txt")
    save_tables(fits.replace(tokenizer=None), folder / "nameless.npz")
    save_tables(tables_of(tokenizer, width=8, positions=512), folder / "narrow.npz")
    save_tables(tables_of(tokenizer, width=128, positions=64), folder / "short.npz")


def write_models(folder):
    """A model to start from, and some that nothing can start from; a corpus in other pieces."""
    sizes = {"max_position_embeddings": 32}
    whole = pretrained("BertForPreTraining", tokenizer(), **sizes)
    save_ours(whole, folder / "whole")
    save_ours(pretrained("BertForPreTraining", **sizes), folder / "nameless")
    head = {**whole.params["mlm"], "bias": np.full(11, np.nan, np.float32)}
    params = {**whole.params, "mlm": head}
    save_ours(dataclasses.replace(whole, params=params), folder / "broken")
    (folder / "blank.txt").write_text("fox\n \n")
    (folder / "empty.txt").write_text("")
    (folder / "there.txt").write_text("fox\nread\n")
    build_corpus(open_source([str(folder / "text")]), vocabulary(["fox"]), folder / "built", 0.3)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each case printed, and what it left behind."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "text").mkdir()
    write_text(folder / "text")
    (folder / "binary.bin").write_bytes(bytes(range(256)) * 40)
    (folder / "one.txt").write_text("One document. It has a few sentences. No more than that.")
    (folder / "broken.json").write_text('{"hidden_size": "wide"}')
    write_tables(folder)
    write_models(folder)
    usual = {
        "corpus": "text", "steps": 4, "batch_size": 8, "phases": "32:1.0", "vocab_size": 64,
        "heldout_fraction": 0.3,
    }  # fmt: skip
    lines = []
    for number, wrong in enumerate(CASES):
        names = [flag.removeprefix("--").split("=")[0] for flag in wrong.split()]
        given = {"workdir": f"run{number}", **usual}
        if {"vocab", "init_checkpoint"} & set(names):  # which have a vocabulary
            del given["vocab_size"]
        usual_flags = [f"--{k}={v}" for k, v in given.items() if k not in names]
        lines.append(usual_flags + wrong.split())
    done = subprocess.run(
        [sys.executable, "-c", _ALL_CASES], input=json.dumps(lines), cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "JAX_NUM_CPU_DEVICES": "8"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    runs = [folder / f"run{number}" for number in range(len(CASES))]
    left = [sorted(os.listdir(run)) if run.exists() else None for run in runs]
    return dict(zip(CASES, zip(found, left, strict=True), strict=True))


@pytest.mark.parametrize("wrong", CASES)
def test_it_is_one_line_and_nothing_half_written_stays(outcomes, wrong):
    (status, printed), left = outcomes[wrong]
    assert status == 2
    assert CASES[wrong] in printed
    lines = [line for line in printed.splitlines() if "elapsed" not in line]
    assert len(lines) == 1 and lines[0].startswith("experiments.pretrain: ")
    # A vocabulary that was learned by then took long, and is whole.
    assert left in (None, ["vocab.txt", "vocab.txt.json"])
