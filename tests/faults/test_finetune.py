"""What fine-tuning does when it is killed, told to stop, stops early, or gets a NaN."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from bert_jax.checkpoint_files import load_params
from bert_jax.convert.pretrained import load_pretrained
from tests.experiments.finetuning import write_checkpoint, write_texts
from tests.faults.runs import REPOSITORY, STOPPED


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finetune")
    write_checkpoint(folder)
    write_texts(folder)
    return folder


def command(folder, name, **changes):
    options = {
        "workdir": folder / name, "task": "classification", "checkpoint": folder / "model",
        "train": folder / "train.tsv", "dev": folder / "dev.tsv", "test": folder / "test.tsv",
        "batch_size": 8, "max_length": 32, "epochs": 8, "learning_rate": 1e-2, "mesh": "data:1",
        "log_every": 1,
    } | changes  # fmt: skip
    return [sys.executable, "-m", "experiments.finetune"] + [
        f"--{k}={v}" for k, v in options.items()
    ]


def start(line):
    return subprocess.Popen(
        line, cwd=REPOSITORY, env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process, status=0):
    output, _ = process.communicate(timeout=600)
    assert process.returncode == status, output
    return output


def lines(folder, name, seed, file):
    text = (folder / name / f"seed{seed}" / file).read_text().splitlines()
    return [{k: v for k, v in json.loads(t).items() if k != "tokens_per_second"} for t in text]


@pytest.fixture(scope="module")
def uninterrupted(folder):
    return finish(start(command(folder, "whole", seeds="0,1")))


def wait_for(process, path, step):
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        whole = path.read_text().splitlines(keepends=True) if path.exists() else []
        whole = [line for line in whole if line.endswith("\n")]
        if whole and json.loads(whole[-1])["step"] >= step:
            return
        time.sleep(0.005)
    raise AssertionError(process.communicate()[0])


def test_a_finished_run_says_what_came_out(folder, uninterrupted):
    result = json.loads((folder / "whole" / "result.json").read_text())
    accuracy = result["scores"]["test"]["accuracy"]
    assert accuracy["mean"] == 1.0 and accuracy["std"] == 0.0 and len(accuracy["per_seed"]) == 2
    assert 0.5 < result["real_token_fraction"] <= 1
    assert result["seconds"] > 0 and result["tokens_per_second"] > 0
    assert "test accuracy" in uninterrupted
    written = (folder / "whole" / "predictions_test.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in written]
    assert len(rows) == 24 and all(row["label"] == row["truth"] for row in rows)
    assert "No mistakes." in (folder / "whole" / "report.html").read_text()
    loaded = load_pretrained(folder / "whole")
    assert loaded.labels == ("cats", "dogs")
    assert loaded.architecture == "BertForSequenceClassification"
    assert not (folder / "whole" / "seed0" / "checkpoints").exists()


def test_killed_and_told_to_stop_it_goes_on_bit_for_bit(folder, uninterrupted):
    line = command(folder, "broken", seeds="0,1")
    metrics = folder / "broken" / "seed0" / "metrics.jsonl"
    process = start(line)
    wait_for(process, metrics, 30)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    process = start(line)
    wait_for(process, metrics, 60)
    process.send_signal(signal.SIGTERM)
    assert "stopped and saved at step" in finish(process, STOPPED)
    assert not (folder / "broken" / "result.json").exists()
    assert "continuing" in finish(start(line))
    for seed in (0, 1):
        for file in ("metrics.jsonl", "heldout.jsonl"):
            assert lines(folder, "broken", seed, file) == lines(folder, "whole", seed, file)
        best = [load_params(folder / name / f"seed{seed}" / "best") for name in ("broken", "whole")]
        jax.tree.map(np.testing.assert_array_equal, *best)


def test_early_stopping_grid_and_more_seeds(folder):
    line = command(
        folder, "grid", grid="learning_rate=0.0,1e-2", patience=2, evals_per_epoch=2, warmup=0,
        layer_decay=0.9, head_learning_rate=1e-2, class_weights="balanced",
    )  # fmt: skip
    finish(start(line))
    result = json.loads((folder / "grid" / "result.json").read_text())
    assert result["settings"]["learning_rate"] == 1e-2
    assert [point["learning_rate"] for point in result["grid"]] == [0.0, 1e-2]
    # At rate 0 the second and third evaluation are no better than the first.
    still = lines(folder / "grid", "learning_rate=0", 0, "heldout.jsonl")
    assert [line["step"] for line in still] == [6, 12, 18]


def test_nan_stops_and_names_step_and_last_good_checkpoint(folder):
    output = finish(
        start(command(folder, "nan", learning_rate=1e38, warmup=0, clip_norm=0)), status=1
    )
    last = output.splitlines()[-1]
    assert "is not finite" in last and "last good checkpoint: there is none" in last
    assert "Traceback" not in output
