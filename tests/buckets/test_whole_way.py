"""From text to predictions, all in a bucket, by commands; each on a machine whose disk is empty."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from bert_jax.bucket import Prefix
from bert_jax.checkpoint_files import load_params
from bert_jax.mirror import at_hand
from tests.faults.runs import REPOSITORY, command, curve, kill, write_model, write_text

AT = "gs://bucket-one/mine"


def run(job, *flags, status=0):
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{job}", *flags],
        cwd=REPOSITORY, capture_output=True, text=True,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done


def wait_for_checkpoint(process, step):
    checkpoint = Prefix(f"{AT}/run/checkpoints/{step}")
    while True:
        names = checkpoint.objects()
        if "digests/data.json" in names and ".unfinished" not in names:
            return
        assert process.poll() is None, process.communicate()[0]


@pytest.mark.slow
@pytest.mark.parametrize("faults", [{}, {"busy_every": 5}, {"silent_every": 97}], ids=str)
def test_by_commands(gcs, new_machine, tmp_path, faults):
    write_text(tmp_path)
    model = write_model(tmp_path)
    here = command(tmp_path / "run", str(tmp_path / "corpus"), model)
    for name in sorted(tmp_path.glob("*.txt")):
        Prefix(f"{AT}/text").put(name, name.name)
    for name, value in faults.items():
        setattr(gcs, name, value)
    vocabulary = ["--vocab_size=64", "--heldout_fraction=0.3"]
    run("learn_vocab", f"--input={AT}/text", f"--output={AT}/vocab.txt", "--vocab_size=64")
    new_machine("second")
    run(
        "build_corpus", f"--input={AT}/text", f"--vocab={AT}/vocab.txt", f"--data_dir={AT}/corpus",
        vocabulary[1],
    )  # fmt: skip
    corpus = at_hand(f"{AT}/corpus")
    subprocess.run(["cp", "-r", corpus, tmp_path / "corpus"], check=True)
    run(here[2].removeprefix("experiments."), *here[3:])

    new_machine("third")
    there = command(f"{AT}/run", f"{AT}/corpus", model)[3:]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.pretrain", *there], cwd=REPOSITORY, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
    )  # fmt: skip
    wait_for_checkpoint(process, 80)
    kill(process)
    assert "result.json" not in Prefix(f"{AT}/run").objects()
    new_machine("fourth")
    said = run("pretrain", *there)
    assert f"continuing {AT}/run from step" in said.stderr
    copy = at_hand(f"{AT}/run")
    assert curve(copy) == curve(tmp_path / "run")
    found, expected = (load_params(each / "checkpoints/240") for each in (copy, tmp_path / "run"))
    jax.tree.map(np.testing.assert_array_equal, found, expected)

    new_machine("fifth")
    rows = "".join(f"the {w} runs\t{w}\n" for w in ("fox", "dog") * 12)
    Prefix(AT).write("train.tsv", f"text\tlabel\n{rows}".encode())
    run(
        "finetune", "--task=classification", f"--checkpoint={AT}/run", f"--workdir={AT}/tuned",
        f"--train={AT}/train.tsv", "--epochs=1", "--batch_size=8", "--max_length=32",
    )  # fmt: skip
    new_machine("sixth")
    Prefix(AT).write("new.txt", b"the fox runs\nthe dog sleeps\n")
    run(
        "predict", f"--checkpoint={AT}/tuned", f"--input={AT}/new.txt", f"--output={AT}/out.jsonl"
    )  # fmt: skip
    lines = Prefix(AT).read("out.jsonl").splitlines()
    assert {json.loads(line)["label"] for line in lines} <= {"fox", "dog"} and len(lines) == 2
    run("inspect_embeddings", f"--checkpoint={AT}/run", f"--workdir={tmp_path / 'looked'}")
    assert (tmp_path / "looked/report.html").is_file()
