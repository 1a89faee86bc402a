"""The same command with other files under the same names: it is refused, and says what changed."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from bert_jax.convert.contents import Pretrained
from bert_jax.errors import DamagedFileError, UserError
from bert_jax.tasks import finetune
from bert_jax.training.workdir import CONTENTS, check_contents
from tests.tasks.examples import TOKENIZER, tiny_pretrained

ROWS = [("the cats left", "yes"), ("the dogs left", "no"), ("how are you", "yes")] * 4


def small():
    return tiny_pretrained(num_hidden_layers=1, hidden_size=16, intermediate_size=32)


def write(file, rows):
    file.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))


def tune(folder, checkpoint=None, **changes):
    settings = {"train": str(folder / "train.tsv"), "dev": str(folder / "dev.tsv")} | changes
    return finetune(
        "classification", checkpoint=checkpoint or small(), workdir=folder / "run", epochs=1,
        batch_size=8, max_length=16, **settings,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    write(folder / "train.tsv", ROWS)
    write(folder / "dev.tsv", ROWS[:3])
    return folder, tune(folder)


def swapped(rows):
    return [*rows[:-2], rows[-1], rows[-2]]


CHANGES = {
    "a label": ("train", lambda rows: [(rows[0][0], "no"), *rows[1:]], "label"),
    "all labels": ("train", lambda rows: [(t, "no" if y == "yes" else "yes") for t, y in rows],
                   "label"),
    "half of the rows": ("train", lambda rows: rows[::2], r"examples \(6, once 12\)"),
    "a word": ("train", lambda rows: [*rows[:-1], ("how are the cats", "yes")], "text"),
    "the order": ("train", swapped, "label, text"),
    "labels of dev": ("dev", lambda rows: [(t, "no" if y == "yes" else "yes") for t, y in rows],
                      "label"),
    "a row more of dev": ("dev", lambda rows: [*rows, rows[0]], r"examples \(4, once 3\)"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_other_examples_are_refused(finished, change):
    folder, _ = finished
    part, changed, said = CHANGES[change]
    rows = ROWS if part == "train" else ROWS[:3]
    write(folder / f"{part}.tsv", changed(rows))
    before = {f: f.stat().st_mtime_ns for f in (folder / "run").rglob("*")}
    with pytest.raises(UserError, match=rf"^got `{part}`, whose {said} changed since the run in"):
        tune(folder)
    assert {f: f.stat().st_mtime_ns for f in (folder / "run").rglob("*")} == before
    write(folder / f"{part}.tsv", rows)
    tune(folder)


def with_zeros(model):
    params = {**model.params, "bert": dict(model.params["bert"])}
    params["bert"]["pooler"] = {k: np.zeros_like(v) for k, v in params["bert"]["pooler"].items()}
    return Pretrained(model.config, params, model.architecture, tokenizer=model.tokenizer)


def with_vocabulary(model):
    pieces = [*TOKENIZER.pieces[:-2], TOKENIZER.pieces[-1], TOKENIZER.pieces[-2]]
    tokenizer = TOKENIZER.with_pieces(pieces)
    return Pretrained(model.config, model.params, model.architecture, tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("change", "said"), [(with_zeros, "weights"), (with_vocabulary, "vocabulary")]
)
def test_another_model_is_refused(finished, change, said):
    folder, _ = finished
    with pytest.raises(
        UserError,
        match=rf"^got `checkpoint`, whose {said} changed since the run in .*run was started;"
        r" expected the same \(to continue it\) or another `workdir` \(to start over\)$",
    ):
        tune(folder, checkpoint=change(small()))


def test_the_same_again_gives_the_same(finished):
    folder, result = finished
    blank = (folder / "train.tsv").read_text().replace("\n", "\n\n", 3)
    (folder / "train.tsv").write_text(blank)  # where a row stands is not what it is
    assert tune(folder).figures["scores"] == result.figures["scores"]
    write(folder / "train.tsv", ROWS)


def test_a_run_of_before_it_was_written_down_is_continued(finished):
    folder, result = finished
    written = (folder / "run" / CONTENTS).read_bytes()
    (folder / "run" / CONTENTS).unlink()
    assert tune(folder).figures["scores"] == result.figures["scores"]
    assert (folder / "run" / CONTENTS).read_bytes() == written


def test_a_new_workdir_leaves_no_trace_of_a_mistake(finished, tmp_path):
    folder, _ = finished
    for part in ("train", "dev"):
        shutil.copy(folder / f"{part}.tsv", tmp_path)
    with pytest.raises(UserError, match="freeze_layers"):
        tune(tmp_path, freeze_layers=9)
    assert not (tmp_path / "run").exists()


def test_what_was_written_down_is_not_taken_for_something_else(tmp_path):
    contents = {"corpus": {"content": "5f0c"}}
    check_contents(tmp_path, contents)
    check_contents(tmp_path, contents)
    with pytest.raises(UserError, match="got `corpus`, whose content changed since"):
        check_contents(tmp_path, {"corpus": {"content": "9d31"}})
    whole = Path(tmp_path / CONTENTS).read_text()
    for damaged in ("", "[]", "{", whole.replace("5f0c", "5f0d"), whole.replace("corpus", "c")):
        (tmp_path / CONTENTS).write_text(damaged)
        with pytest.raises(DamagedFileError, match=rf"{CONTENTS}, a damaged file \("):
            check_contents(tmp_path, contents)
