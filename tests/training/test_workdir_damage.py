"""Damaged files of a pretraining workdir: one line that names the file, or nothing changes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bert_jax.errors import DamagedFileError, UserError
from bert_jax.training.audit_log import initial_table
from bert_jax.training.callbacks import Callback
from bert_jax.training.given_model import read_start, write_start
from bert_jax.training.metrics import append_line, drop_after, read_metrics
from bert_jax.training.pretraining import pretrain
from bert_jax.training.workdir import prepared_workdir, read_settings
from tests.damage import DAMAGES, damage
from tests.training.test_pretraining import SETTINGS, texts

KINDS = [
    *("config.json", "metrics.jsonl", "heldout.jsonl", "vocab.txt", "vocab.txt.json"),
    "corpus/corpus.json",
]
LINES = [{"step": step, "loss": 1 / step} for step in range(1, 9)]


class Stop(Callback):
    """Ends a run after a step, or when all is read and training would begin."""

    def __init__(self, step=None):
        self.step = step

    def on_train_begin(self, step):
        if self.step is None:
            raise InterruptedError

    def on_step(self, step, metrics):
        if step == self.step:
            raise InterruptedError


def begin(workdir, step=None):
    with pytest.raises(InterruptedError):
        pretrain(
            texts(), workdir, callbacks=[Stop(step)],
            **SETTINGS | {"steps": 8, "checkpoint_every": 4},
        )  # fmt: skip


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A workdir with a checkpoint of step 4, whose run has come to step 5."""
    workdir = tmp_path_factory.mktemp("killed") / "run"
    begin(workdir, 5)
    return workdir


def lines_of(workdir):
    return [read_metrics(workdir / f"{name}.jsonl") for name in ("metrics", "heldout")]


@pytest.mark.parametrize("how", [how for how in DAMAGES if how != "longer"])
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_one_line_or_changes_nothing(killed, tmp_path, capsys, kind, how):
    workdir = Path(shutil.copytree(killed, tmp_path / "run"))
    expected = [[line for line in lines if line["step"] <= 4] for lines in lines_of(workdir)]
    damage(workdir / kind, how, np.random.default_rng(0))
    try:
        begin(workdir)
    except UserError as error:
        assert "\n" not in str(error) and str(workdir) in str(error)
        assert how == "flipped" or str(workdir / kind) in str(error)
        return
    learned_again = kind == "vocab.txt.json" or (kind, how) == ("vocab.txt", "removed")
    assert learned_again or how == "flipped" or kind in ("metrics.jsonl", "heldout.jsonl")
    said = capsys.readouterr().err
    for mine, whole in zip(lines_of(workdir), expected, strict=True):
        assert all(line in whole for line in mine)
        assert mine == whole or "has lost what was written of" in said


def written(tmp_path, lines=LINES):
    for line in lines:
        append_line(tmp_path / "m.jsonl", line)
    return tmp_path / "m.jsonl"


def test_every_flipped_bit_of_a_line_is_noticed(tmp_path, capsys):
    file = written(tmp_path, LINES[:3])
    whole, sums = file.read_bytes(), (tmp_path / "m.jsonl.crc").read_bytes()
    for place in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        file.write_bytes(damaged)
        try:
            drop_after(file, 3)
        except DamagedFileError as error:
            assert "line" in str(error)
        else:
            said = capsys.readouterr().err
            assert "has lost what was written of 1 steps" in said
            assert all(line in LINES for line in read_metrics(file))
        (tmp_path / "m.jsonl.crc").write_bytes(sums)


def test_a_gap_is_said_once_and_other_lines_stay(tmp_path, capsys):
    file = written(tmp_path)
    texts = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*texts[:2], *texts[5:]]))
    drop_after(file, 7)
    assert f"note: {file} has lost what was written of 3 steps, 3 to 5" in capsys.readouterr().err
    assert read_metrics(file) == [LINES[0], LINES[1], LINES[5], LINES[6]]
    drop_after(file, 7)
    assert capsys.readouterr().err == ""


def test_lines_do_not_change_places_or_come_twice(tmp_path):
    file = written(tmp_path)
    texts = file.read_text().splitlines(keepends=True)
    for other in ([*texts[:2], texts[3], texts[2]], [*texts, texts[-1]], [texts[0], *texts]):
        file.write_text("".join(other))
        with pytest.raises(DamagedFileError, match=r"m\.jsonl, a damaged file \(line \d is not"):
            read_metrics(file)


def test_what_a_kill_leaves_is_mended(tmp_path, capsys):
    file = written(tmp_path)
    whole = file.read_bytes()
    for end in range(len(whole) - 20, len(whole) + 1):  # in the last line; its checksum was not
        file.write_bytes(whole[:end])
        sums = "".join(
            f"{line}\n" for line in (tmp_path / "m.jsonl.crc").read_text().split("\n")[:7]
        )
        (tmp_path / "m.jsonl.crc").write_text(sums)
        assert read_metrics(file) == LINES[: 8 if end == len(whole) else 7]
        drop_after(file, 7)
        assert read_metrics(file) == LINES[:7]
    assert capsys.readouterr().err == ""


def test_what_the_power_leaves_after_a_checkpoint_is_mended(tmp_path, capsys):
    file = written(tmp_path)
    whole = file.read_bytes()
    (tmp_path / "m.jsonl.crc").write_text(
        "".join((tmp_path / "m.jsonl.crc").read_text().splitlines(keepends=True)[:4])
    )
    for tail in (b"", b"\0" * 40 + b"\n", b'{"step": 2}\n'):
        file.write_bytes(whole + tail)
        drop_after(file, 4)
        assert read_metrics(file) == LINES[:4]
    file.write_bytes(whole)
    with pytest.raises(DamagedFileError, match="line 6 is not what was written"):
        drop_after(file, 8)
    assert capsys.readouterr().err == ""


def test_lines_of_before_there_were_checksums_are_read(tmp_path, capsys):
    file = tmp_path / "m.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in LINES[:4]))
    assert read_metrics(file) == LINES[:4]
    drop_after(file, 3)
    append_line(file, LINES[3])
    assert read_metrics(file) == LINES[:4] and capsys.readouterr().err == ""
    file.write_bytes(b"\xff\n")
    with pytest.raises(DamagedFileError, match="line 1 is not what was written"):
        read_metrics(file)


def settings_of(workdir, settings):
    with prepared_workdir(workdir, settings, ()):
        return read_settings(workdir)


def test_every_flipped_bit_of_the_settings_is_noticed(tmp_path):
    settings = {"learning_rate": 0.01, "phases": "32:1.0"}
    assert settings_of(tmp_path, settings) == settings
    whole = (tmp_path / "config.json").read_bytes()
    for place in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        (tmp_path / "config.json").write_bytes(damaged)
        try:
            assert settings_of(tmp_path, settings) == settings  # white space
        except UserError as error:
            assert str(tmp_path) in str(error) and "\n" not in str(error)
    assert (tmp_path / "config.json").read_bytes() == bytes(damaged)  # nothing writes over it


def test_settings_of_before_there_were_digests_are_read(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": 0}')
    assert settings_of(tmp_path, {"seed": 0}) == {"seed": 0}
    with pytest.raises(UserError, match="got seed=1, but the run"):
        settings_of(tmp_path, {"seed": 1})


@pytest.mark.parametrize("left", ["checkpoints", "contents.json"])
def test_a_run_without_its_config_is_not_begun_anew(tmp_path, left):
    (tmp_path / left).mkdir()
    with (
        pytest.raises(DamagedFileError, match=r"config\.json, a damaged file \(it is not there"),
        prepared_workdir(tmp_path, {"seed": 0}, ()),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [left]


@pytest.mark.parametrize("how", DAMAGES)
def test_what_a_run_began_with_is_verified(tmp_path, how):
    rng, table = np.random.default_rng(0), np.ones((9, 4), np.float32)
    write_start(tmp_path, {"checkpoint": "base"}, {"heldout_mlm_loss": 2.5})
    initial_table(0, lambda: table, tmp_path)
    np.testing.assert_array_equal(initial_table(3, lambda: None, tmp_path), table)
    for name, read in (
        ("start.json", lambda: read_start(tmp_path)),
        ("audit_start.npy", lambda: initial_table(3, lambda: table, tmp_path)),
    ):
        damage(tmp_path / name, how, rng)
        if how != "removed":
            with pytest.raises(DamagedFileError, match=rf"{name}, a damaged file \("):
                read()
    (tmp_path / "audit_start.json").unlink()  # as before there were digests
    if how in ("emptied", "garbage"):
        with pytest.raises(DamagedFileError, match=r"audit_start\.npy, a damaged file \("):
            initial_table(3, lambda: table, tmp_path)
