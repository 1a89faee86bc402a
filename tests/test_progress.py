import io
import re
import sys
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from rich import console

from bert_jax import progress
from bert_jax.progress import ProgressBar


def test_a_notebook_shows_one_line_with_the_time_left(monkeypatch, capsys):
    monkeypatch.setattr(console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(progress, "_NOTEBOOK_SECONDS", 0)
    monkeypatch.setattr(progress, "_LEAST_SECONDS", 0)
    with ProgressBar("training", 4) as bar:
        bar.update(1, "loss 9")
        bar.update(2, "loss 8.5")
        bar.update(4, "loss 8")
    first, *lines = capsys.readouterr().err.split("\r")
    assert first == "" and len(lines) == 4
    assert lines[1].startswith("training 50%  loss 8.5  0:00 elapsed  0:00 left")
    assert lines[-1].startswith("training 100%  loss 8  ") and lines[-1].endswith("\n")
    assert not any("\n" in line for line in lines[:-1])


def test_a_log_file_gets_nothing_of_what_is_soon_done(capsys):
    with ProgressBar("training", 2) as bar:
        bar.update(2, "loss 8")
    assert capsys.readouterr().err == ""


def test_the_time_left_is_said_once_it_is_more_than_a_guess(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(console, "_is_jupyter", lambda: True)
    moments = [(4, 300), (6, 10), (7, 30), (61, 10), (100, 500), (200, 1000)]
    with ProgressBar("tokenising", 1000) as bar:
        for now[0], done in moments:
            bar.update(done)
    shown = [line.partition("elapsed")[2].strip() for line in capsys.readouterr().err.split("\r")]
    assert shown[1:7] == ["", "", "3:46 left", "1:40:39 left", "1:40 left", "0:00 left"]


NUMBERS = st.floats(0, 1e30, allow_nan=False)


@given(
    total=st.none() | NUMBERS,
    start=NUMBERS,
    moments=st.lists(st.tuples(st.floats(0, 1e7), NUMBERS), min_size=1, max_size=5),
)
def test_the_time_left_is_a_time_or_absent(total, start, moments):
    """Also where more comes than was thought, nothing, less than before, or hardly anything."""
    clock, said = [0.0], io.StringIO()
    with (
        mock.patch.object(progress.time, "monotonic", lambda: clock[0]),
        mock.patch.object(console, "_is_jupyter", return_value=True),
        mock.patch.object(sys, "stderr", said),
        ProgressBar("tokenising", total, start) as bar,
    ):
        for clock[0], done in moments:
            bar.update(done)
    for line in said.getvalue().split("\r")[1:]:
        left = line.partition("elapsed")[2].strip()
        assert re.fullmatch(r"((\d{1,3}:[0-5]\d|[0-5]?\d):[0-5]\d left)?", left), line
