import gzip
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bert_jax.data import records, sources
from bert_jax.data.beam_files import new_exchange
from bert_jax.data.beam_run import BeamRun
from bert_jax.data.corpus import Corpus, build_corpus
from bert_jax.data.sources import open_source
from bert_jax.errors import DamagedFileError, UserError
from bert_jax.text.word_counts import WordSettings, count_words, count_words_in_files
from tests.damage import DAMAGES, damage
from tests.text.vocabulary import small_tokenizer

TOKENIZER = small_tokenizer()


def all_bytes(folder):
    """Every file of a corpus; of corpus.json all but the seconds it took, and its digest."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    content = json.loads(found["corpus.json"])
    del content["report"]["seconds"], content["digest"]
    return found | {"corpus.json": content}


def write_texts(folder):
    """Files of every format and several encodings, with repeats, empty and broken documents."""
    folder.mkdir()
    blocks = "The cats.\nHe left.\n\nOne day.\nThe cats.\n\n\nI like dogs. Yes.\n" * 5
    (folder / "blocks.docs.txt").write_text(blocks)
    (folder / "byte order mark.txt").write_bytes(b"\xef\xbb\xbfThe dogs.\r\n\r\nThanks.")
    (folder / "chinese.sents.txt").write_text("中文 字。\nThe cats.\n\nαβς Σ.\n")
    (folder / "empty.txt").write_text(" \n\n")
    (folder / "latin.txt").write_bytes(b"caf\xe9 \xff the cats.")
    rows = [{"text": f"The cats {n}. He left {n % 7}.\n\nOne day."} for n in range(60)]
    lines = "\n".join(map(json.dumps, rows)).encode()
    (folder / "rows.jsonl").write_bytes(lines)
    (folder / "zipped.jsonl.gz").write_bytes(gzip.compress(lines.splitlines(True)[0] * 9))
    (folder / "zipped.txt.gz").write_bytes(gzip.compress("Ünïcode, thé end.\n\nYes.".encode()))
    return folder


@pytest.fixture
def texts(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_SHARE_BYTES", 100)
    monkeypatch.setattr(records, "_SHARD_PIECES", 300)
    return write_texts(tmp_path / "in")


class Unreliable:
    """A runner that does tasks in any order, some of them twice, and whose workers die."""

    def __init__(self, seed=0):
        self.random = random.Random(seed)

    def exchange(self, beside):
        return new_exchange(beside)

    def for_each(self, work, tasks, marks, progress=None):
        folder = marks.place.parent
        tasks = [*tasks, *self.random.sample(tasks, len(tasks) // 2)]
        self.random.shuffle(tasks)
        for task in tasks:
            pickle.loads(pickle.dumps(work))(pickle.loads(pickle.dumps(task)))
        for made in [*folder.glob("shares/0*"), *folder.glob("written/t*")]:
            left_behind = made.with_name(f".{made.name}.{self.random.random()}")
            shutil.copytree(made, left_behind)


@pytest.mark.parametrize("drop_lines", [False, True])
def test_order_and_repetition_of_the_work_change_nothing(texts, tmp_path, drop_lines):
    source = open_source([str(texts), str(texts / "rows.jsonl"), str(texts / "*.gz")])
    assert len(source.shares) > 5
    how = {"heldout_fraction": 0.2, "drop_duplicate_lines": drop_lines, "drop_duplicates": True}
    build_corpus(source, TOKENIZER, tmp_path / "here", **how)
    build_corpus(source, TOKENIZER, tmp_path / "there", **how, beam=Unreliable())
    assert all_bytes(tmp_path / "here") == all_bytes(tmp_path / "there")
    assert (len(list((tmp_path / "here").glob("*train.array_record-*"))) > 2) == (not drop_lines)
    report = Corpus.open(tmp_path / "there").report
    assert report.duplicates and report.bad_utf8_documents and report.empty_documents
    assert (report.dropped_lines > 0) == drop_lines
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "in", "there"]


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    files=st.lists(
        st.lists(st.text(alphabet="ab c.\n中\x00~", max_size=30), max_size=6),
        min_size=1,
        max_size=5,
    ),
    heldout_fraction=st.sampled_from([0.0, 1e-9, 0.3]),
    drop_duplicates=st.booleans(),
    drop_duplicate_lines=st.booleans(),
    share_bytes=st.integers(0, 100),
    seed=st.integers(0, 9),
)
def test_any_text_gives_the_same_corpus_or_the_same_mistake(
    tmp_path_factory, monkeypatch, files, share_bytes, seed, **how
):
    folder = tmp_path_factory.mktemp("any")
    monkeypatch.setattr(sources, "_SHARE_BYTES", share_bytes)
    monkeypatch.setattr(records, "_SHARD_PIECES", 9)
    for number, rows in enumerate(files):
        lines = [json.dumps({"text": row}) + "\n" for row in rows]
        (folder / f"{number}.jsonl").write_text("".join(lines))
    source = open_source(str(folder / "*.jsonl"))
    outcomes = []
    for name, beam in (("here", None), ("there", Unreliable(seed))):
        try:
            build_corpus(source, TOKENIZER, folder / name, **how, beam=beam)
            outcomes.append(all_bytes(folder / name))
        except UserError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


class Damaging(Unreliable):
    """One that damages a file of the work as soon as it is there."""

    def __init__(self, name, how):
        super().__init__()
        self.name, self.how, self.file = name, how, None

    def for_each(self, work, tasks, marks, progress=None):
        self.damage(marks)
        super().for_each(work, tasks, marks)
        self.damage(marks)

    def damage(self, marks):
        file = marks.place.parent / self.name
        if self.file is None and file.exists():
            self.file = file
            damage(file, self.how, np.random.default_rng(len(self.name)))


WORK_FILES = [
    *("shares/000001/heads", "shares/000000/pieces.npy", "shares/000002/seal.json"),
    *("plan/train-000001/documents", "written/train-000000/sentence_starts.npy"),
    *("written/train-000001/records", "written/heldout-000000/shard.json"),
]


@pytest.mark.parametrize("name", WORK_FILES)
def test_damaged_work_files_are_one_line_that_names_the_file(texts, tmp_path, name):
    source = open_source(str(texts))
    build_corpus(source, TOKENIZER, tmp_path / "here", 0.2)
    for how in ("flipped", [*DAMAGES][1 + WORK_FILES.index(name) % 5]):
        beam = Damaging(name, how)
        try:
            build_corpus(source, TOKENIZER, tmp_path / how, 0.2, beam=beam)
        except DamagedFileError as error:
            folder = str(beam.file.parent)
            assert folder in str(error) and "\n" not in str(error)
            assert str(error).endswith("give the command again")
            assert not (tmp_path / how).exists()
        else:  # a bit of the seal that does not matter
            assert name.endswith("seal.json") and how == "flipped"
            assert all_bytes(tmp_path / "here") == all_bytes(tmp_path / how)


# What needs Beam itself.


def beam_run(*options):
    pytest.importorskip("apache_beam")
    return BeamRun("DirectRunner", options)


TWO_PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
RUNS = [(), ("--direct_num_workers=2", "--direct_running_mode=multi_threading"), TWO_PROCESSES]


@pytest.mark.parametrize("options", RUNS)
def test_any_number_of_beam_workers_gives_the_same_bytes(texts, tmp_path, options):
    run = beam_run(*options)
    source = open_source(str(texts))
    for name, beam in (("here", None), ("there", run)):
        build_corpus(source, TOKENIZER, tmp_path / name, 0.2, beam=beam)
    assert all_bytes(tmp_path / "here") == all_bytes(tmp_path / "there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "in", "there"]


@pytest.mark.parametrize("options, plain", [((), True), ((), False), (TWO_PROCESSES, False)])
def test_any_number_of_beam_workers_counts_the_same_words(texts, tmp_path, options, plain):
    run = beam_run(*options)
    from bert_jax.data.beam_counts import count_words_with_beam

    how = WordSettings(lowercase=plain)
    if plain:
        source = [texts / "blocks.docs.txt", texts / "latin.txt", texts / "chinese.sents.txt"]
        ours = count_words_in_files(source, how)
    else:
        source = open_source(str(texts))
        ours = count_words((document.whole_text for document in source), how)
    theirs = count_words_with_beam(run, source, how, tmp_path / "vocab.txt")
    assert theirs.words == ours.words and theirs.counts.tolist() == ours.counts.tolist()
    assert replace(theirs, words=(), counts=None) == replace(ours, words=(), counts=None)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_mistake_on_a_worker_is_the_one_that_the_local_builder_tells(texts, tmp_path):
    run = beam_run()
    from bert_jax.data.beam_counts import count_words_with_beam

    (texts / "cut.txt.gz").write_bytes(gzip.compress(os.urandom(3000))[:-9])
    (texts / "m.jsonl").write_text('{"other": 1}\n')
    told = []
    for beam in (None, run):
        with pytest.raises(UserError) as caught:
            build_corpus(open_source(str(texts)), TOKENIZER, tmp_path / "c", beam=beam)
        told.append(str(caught.value))
    assert told[0] == told[1] and "cut.txt.gz" in told[0]
    with pytest.raises(UserError, match=r"cut\.txt\.gz"):
        count_words_with_beam(run, open_source(str(texts)), WordSettings(), tmp_path / "v")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_worker_that_fails_is_no_users_mistake_and_leaves_nothing(texts, tmp_path):
    run = beam_run()
    source = open_source(str(texts))
    (texts / "rows.jsonl").unlink()
    (texts / "rows.jsonl").mkdir()  # a surprise between listing and reading
    source = type(source)(source.identity, source.total_bytes, (*source.shares, int))
    with pytest.raises(Exception, match=r"not iterable|directory"):
        build_corpus(source, TOKENIZER, tmp_path / "c", beam=run)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


KILLED = """
import os, signal, sys
from functools import partial
from bert_jax.data.beam_run import BeamRun
from bert_jax.data.corpus import build_corpus
from bert_jax.data.sources import Source, open_source
from tests.damage import DAMAGES, damage
from tests.text.vocabulary import small_tokenizer
text, data_dir = sys.argv[1:]
shares = open_source(text).shares + (partial(os.kill, os.getpid(), signal.SIGKILL),)
build_corpus(Source("x", None, shares), small_tokenizer(), data_dir, beam=BeamRun("DirectRunner"))
"""


def test_a_killed_build_leaves_nothing_that_opens_and_the_next_one_tidies_up(texts, tmp_path):
    run = beam_run()
    command = [sys.executable, "-c", KILLED, str(texts), str(tmp_path / "c")]
    done = subprocess.run(
        command, capture_output=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    lock, left_over = sorted(path.name for path in tmp_path.iterdir() if path.name != "in")
    assert lock == ".c.lock" and left_over.startswith(".c.partial-")
    with pytest.raises(UserError, match="holds no corpus"):
        Corpus.open(tmp_path / left_over)
    build_corpus(open_source(str(texts)), TOKENIZER, tmp_path / "c", beam=run)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "in"]
    assert np.all(np.diff(Corpus.open(tmp_path / "c").train.sentence_starts) > 0)


@pytest.mark.parametrize(
    "runner, options, message",
    [
        ("Nope", [], "got Beam runner 'Nope', which is not available: Unexpected pipeline runner"),
        ("no_module.Runner", [], "which is not available: No module named 'no_module'; expected D"),
        ("DirectRunner", ["--bogus=1"], "got Beam option --bogus, which DirectRunner does not"),
        ("DirectRunner", ["workers=2"], "got Beam option workers=2, which DirectRunner does not"),
        ("FlinkRunner", ["workers=2"], "got Beam option workers=2, which FlinkRunner does not"),
        ("DirectRunner", ["--direct_num_workers=x"], "invalid int value: 'x'; expected beam_opt"),
    ],
)
def test_mistakes_in_runner_and_options(runner, options, message):
    pytest.importorskip("apache_beam")
    with pytest.raises(UserError) as caught:
        BeamRun(runner, options)
    assert message in str(caught.value)


def test_a_runner_that_cannot_be_reached(texts, tmp_path):
    pytest.importorskip("apache_beam")
    run = BeamRun("PortableRunner", ["--job_endpoint=localhost:1"], start_seconds=3)
    with pytest.raises(
        UserError, match=r"no worker started within 3 s, since nothing answers at localh"
    ):
        build_corpus(open_source(str(texts)), TOKENIZER, tmp_path / "c", beam=run)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_beam_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=r"expected it to be installed: python3 -m pip .*\[beam\]"):
        BeamRun("DirectRunner")
