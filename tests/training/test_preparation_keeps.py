"""A vocabulary that was learned outlives a mistake that shows later."""

import pytest

from bert_jax.data import preparation
from bert_jax.data.preparation import LEARNED, prepare_corpus
from bert_jax.errors import UserError
from bert_jax.training.workdir import prepared_workdir


@pytest.fixture
def books(tmp_path):
    for number in range(8):
        text = " ".join(f"The cats left house {number}{i}. He stayed." for i in range(20))
        (tmp_path / f"{number}.txt").write_text(text)
    return str(tmp_path / "*.txt")


def prepare(books, workdir, mistake=False, vocab_size=60):
    with prepared_workdir(workdir, {"vocab_size": vocab_size}, (), LEARNED):
        prepare_corpus([books], vocab_size=vocab_size, workdir=workdir)
        if mistake:
            raise UserError("got a mistake")


def test_it_is_kept_and_used_again_where_it_is_the_same(tmp_path, books, monkeypatch):
    learned = []
    learn = preparation.learn_from
    monkeypatch.setattr(
        preparation, "learn_from", lambda *given: learned.append(given[1]) or learn(*given)
    )
    workdir = tmp_path / "run"
    with pytest.raises(UserError, match="got a mistake"):
        prepare(books, workdir, mistake=True)
    assert sorted(file.name for file in workdir.iterdir()) == list(LEARNED)
    prepare(books, workdir)
    assert learned == [60]

    workdir = tmp_path / "other"
    with pytest.raises(UserError, match="got a mistake"):
        prepare(books, workdir, mistake=True)
    prepare(books, workdir, vocab_size=50)  # another size: learned anew
    assert learned == [60, 60, 50]
    (tmp_path / "0.txt").write_text("Other text. " * 9)
    with pytest.raises(UserError, match="another input"):  # a corpus is there: not learned anew
        prepare(books, workdir, vocab_size=50)
    assert learned == [60, 60, 50]


def test_too_little_text_is_said_before_anything_is_learned(tmp_path, monkeypatch):
    (tmp_path / "one.txt").write_text("One sentence.")
    monkeypatch.setattr(preparation, "learn_from", None)
    with pytest.raises(UserError, match="got 1 document, all in one split"):
        prepare(str(tmp_path / "one.txt"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
