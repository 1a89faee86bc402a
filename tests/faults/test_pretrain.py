"""What a run does when it is killed, told to stop, or gets a NaN."""

import json
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax.checkpoint_files import load_params
from bert_jax.file_digests import write_sealed
from bert_jax.training.metrics import read_metrics
from tests.faults.runs import (
    STEPS,
    STOPPED,
    command,
    curve,
    finish,
    flip_a_bit,
    kill,
    start,
    wait_for_step,
    write_model,
    write_text,
)  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A finished run, its corpus and model."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    model = write_model(folder)
    (folder / "text").mkdir()
    text = write_text(folder / "text")
    output = finish(start(command(folder / "run", text, model)))
    return folder / "run", str(folder / "run" / "corpus"), model, output


def final_params(workdir):
    return load_params(workdir / "checkpoints" / str(STEPS))


def assert_same_run(workdir, expected):
    assert curve(workdir) == curve(expected)
    assert (workdir / "heldout.jsonl").read_text() == (expected / "heldout.jsonl").read_text()
    jax.tree.map(np.testing.assert_array_equal, final_params(workdir), final_params(expected))


def test_a_finished_run_says_what_came_out(uninterrupted):
    workdir, corpus, model, output = uninterrupted
    result = json.loads((workdir / "result.json").read_text())
    assert result["steps"] == STEPS
    assert result["resumed_from"] is None
    assert result["checkpoint"] == str(workdir / "checkpoints" / str(STEPS))
    low, high = result["heldout_nsp_interval"]
    assert 0 <= low <= result["heldout_nsp_accuracy"] <= high <= 1
    assert result["peak_rss_bytes"] > 50e6
    assert [line["step"] for line in curve(workdir)] == list(range(1, STEPS + 1))
    assert curve(workdir)[-1]["mlm_loss"] < curve(workdir)[0]["mlm_loss"] - 1.0
    assert result["heldout_mlm_loss"] < np.log(64)
    assert "held-out NSP accuracy" in output

    again = finish(
        start(command(workdir, corpus.removesuffix("/run/corpus") + "/text/*.txt", model))
    )
    assert f"continuing {workdir} from step {STEPS}" in again
    repeated = json.loads((workdir / "result.json").read_text())
    assert repeated["resumed_from"] == STEPS
    for name in ("heldout_mlm_loss", "heldout_nsp_accuracy", "heldout_unigram_entropy"):
        assert repeated[name] == result[name]


def test_killed_at_any_instant_and_continued_it_is_the_same_bit_for_bit(uninterrupted, tmp_path):
    """Before the first checkpoint, shortly before one, while one is written, shortly after one."""
    expected, corpus, model, _ = uninterrupted
    line = command(tmp_path / "run", corpus, model)
    for step in (10, 79, 81, 160, 170):
        process = start(line)
        wait_for_step(process, tmp_path / "run", step)
        kill(process)
    output = finish(start(line))
    assert "continuing" in output
    assert_same_run(tmp_path / "run", expected)


def test_an_audit_continues_bit_for_bit(uninterrupted, tmp_path):
    _, corpus, model, _ = uninterrupted
    options = {"audit_every": 50, "untied": True, "optimizer": "row_lazy_adamw"}
    finish(start(command(tmp_path / "whole", corpus, model, **options)))
    line = command(tmp_path / "run", corpus, model, **options)
    for step in (60, 161):  # one audit is written after the last checkpoint, and dropped
        process = start(line)
        wait_for_step(process, tmp_path / "run", step)
        kill(process)
    finish(start(line))
    for name in ("audit.jsonl", "audit.npz"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    lines = read_metrics(tmp_path / "run" / "audit.jsonl")
    assert [line["step"] for line in lines] == [50, 100, 150, 200, STEPS]
    assert lines[-1]["absent_seen_share"] == 0
    assert lines[-1]["unseen_drift"] in (0, None)


def test_sigterm_saves_where_it_stands_and_the_rest_is_the_same(uninterrupted, tmp_path):
    expected, corpus, model, _ = uninterrupted
    line = command(tmp_path / "run", corpus, model)
    process = start(line)
    wait_for_step(process, tmp_path / "run", 20)
    process.send_signal(signal.SIGTERM)
    output = finish(process, STOPPED)
    step = int(output.split("stopped and saved at step ")[1].split(":")[0])
    assert (tmp_path / "run" / "checkpoints" / str(step)).is_dir()
    assert not (tmp_path / "run" / "result.json").exists()
    assert f"continuing {tmp_path / 'run'} from step {step}" in finish(start(line))
    assert_same_run(tmp_path / "run", expected)


JUMPING = """
import itertools, runpy, sys, time
real, jumps = time.time, itertools.cycle([0.0, -86_400.0, 7 * 86_400.0, 3e8, -3e8])
def jumping():
    by = next(jumps)
    # Orbax looks twice within a microsecond to find how long it may wait: ten minutes.
    return real() + by * (sys._getframe(1).f_code.co_name != "blocking_key_value_get")
time.time, time.time_ns = jumping, lambda: int(1e9 * jumping())
module, sys.argv = sys.argv[1], sys.argv[1:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def test_a_clock_that_jumps_changes_nothing(uninterrupted, tmp_path):
    """By a day, a week and ten years, to and fro, at every look: in the run and in what goes on."""
    expected, corpus, model, _ = uninterrupted
    python, _, module, *flags = command(tmp_path / "run", corpus, model)
    line = [python, "-c", JUMPING, module, *flags]
    process = start(line)
    wait_for_step(process, tmp_path / "run", 161)  # the checkpoint of step 80 is whole
    kill(process)
    output = finish(start(line))
    assert "continuing" in output and "Traceback" not in output
    assert_same_run(tmp_path / "run", expected)


def test_nan_stops_and_names_step_and_last_good_checkpoint(uninterrupted, tmp_path):
    _, corpus, model, _ = uninterrupted
    line = command(
        tmp_path / "run", corpus, model,
        learning_rate=1e38, warmup=0, clip_norm=0, checkpoint_every=1, eval_every=0,
    )  # fmt: skip
    output = finish(start(line), status=1)
    last = output.splitlines()[-1]
    assert "is not finite" in last
    step = int(last.split("step ")[1].split()[0])
    assert last.endswith(
        f"last good checkpoint: {tmp_path / 'run' / 'checkpoints' / str(step - 1)}"
    )
    assert "Traceback" not in output


def test_a_changed_flag_is_named(uninterrupted):
    workdir, corpus, model, _ = uninterrupted
    text = corpus.removesuffix("/run/corpus") + "/text/*.txt"
    output = finish(start(command(workdir, text, model, learning_rate=0.02)), status=2)
    assert output.splitlines() == [
        f"experiments.pretrain: got --learning_rate=0.02, but the run in {workdir} was started with"
        " --learning_rate=0.01; expected the same (to continue it) or another --workdir (to start"
        " over)"
    ]


def test_another_corpus_or_model_under_the_same_name_is_refused(uninterrupted, tmp_path):
    workdir, _, model, _ = uninterrupted
    for name in ("corpus", "model.json"):
        (tmp_path / name).symlink_to(workdir / "corpus" if name == "corpus" else model)
    line = command(tmp_path / "run", tmp_path / "corpus", tmp_path / "model.json", steps=2)
    finish(start(line))
    (tmp_path / "model.json").unlink()
    content = json.loads(Path(model).read_text()) | {"hidden_size": 32}
    (tmp_path / "model.json").write_text(json.dumps(content))
    assert "whose sizes differ from those in" in finish(start(line), status=2)
    (tmp_path / "model.json").unlink()
    (tmp_path / "model.json").symlink_to(model)
    (tmp_path / "corpus").unlink()
    shutil.copytree(workdir / "corpus", tmp_path / "corpus")
    saved = json.loads((tmp_path / "corpus" / "corpus.json").read_text())
    write_sealed(tmp_path / "corpus" / "corpus.json", saved | {"fingerprint": "other"})
    assert "whose content has changed since it was written to" in finish(start(line), status=2)
    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()


def test_a_damaged_checkpoint_is_set_aside_and_the_run_ends_the_same(uninterrupted, tmp_path):
    expected, corpus, model, _ = uninterrupted
    line = command(tmp_path / "run", corpus, model, keep=2)
    process = start(line)
    wait_for_step(process, tmp_path / "run", 165)  # 80 and 160 are written, or soon will be
    process.send_signal(signal.SIGTERM)
    finish(process, STOPPED)
    steps = sorted(int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir())
    newest = tmp_path / "run" / "checkpoints" / str(steps[-1])
    flip_a_bit(newest)
    output = finish(start(line))
    assert f"{newest} is damaged (" in output
    assert f"set aside as {newest.name}.damaged" in output
    assert f"from step {steps[-2]}" in output
    assert_same_run(tmp_path / "run", expected)
