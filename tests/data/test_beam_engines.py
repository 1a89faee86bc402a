"""Beam on several processes: Dask's scheduler, Beam's own job service, and none that ever begin."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from bert_jax import waiting
from bert_jax.bucket import Prefix
from bert_jax.data import records, sources
from bert_jax.data.beam_run import BeamRun
from bert_jax.data.corpus import Corpus, build_corpus
from bert_jax.data.sources import open_source
from bert_jax.errors import UserError
from bert_jax.mirror import at_hand
from bert_jax.text.word_counts import WordSettings, count_words
from tests.buckets.servers import BUCKET, gcs_server
from tests.data.test_beam_corpus import TOKENIZER, all_bytes, write_texts
from tests.experiments.runs import REPOSITORY, run_each

pytest.importorskip("apache_beam")


@pytest.fixture
def texts(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_SHARE_BYTES", 200)
    monkeypatch.setattr(records, "_SHARD_PIECES", 300)
    return write_texts(tmp_path / "in")


@contextlib.contextmanager
def running(tmp_path_factory):
    """Start commands, and end them with the block."""
    folder, started = tmp_path_factory.mktemp("engine"), []
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(folder),
    }

    def start(*command, **more):
        with (folder / "log").open("ab") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", *map(str, command)],
                    cwd=folder, env={**environment, **more}, stdout=log, stderr=log,
                )
            )  # fmt: skip
        return folder

    try:
        yield start
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            process.wait(60)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(port):
    until = time.monotonic() + 120
    while True:
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        assert time.monotonic() < until
        time.sleep(0.2)


def start_dask(start, workers):
    pytest.importorskip("distributed")
    port = free_port()
    start("dask", "scheduler", "--host=127.0.0.1", f"--port={port}", "--no-dashboard")
    wait_for(port)
    for _ in range(workers):
        start("dask", "worker", f"tcp://127.0.0.1:{port}", "--nthreads=1", "--no-dashboard")
    return f"--dask_client_address=tcp://127.0.0.1:{port}", "--dask_npartitions=4"


def start_job_service(start, **environment):
    """Beam's own job service with a pool of workers, each a process: what Flink and Spark have."""
    service, pool = free_port(), free_port()
    start("apache_beam.runners.portability.local_job_service_main", f"--port={service}")
    start("apache_beam.runners.worker.worker_pool_main", f"--service_port={pool}", **environment)
    wait_for(service)
    wait_for(pool)
    return (
        f"--job_endpoint=127.0.0.1:{service}",
        "--environment_type=EXTERNAL",
        f"--environment_config=127.0.0.1:{pool}",
    )


@pytest.fixture(scope="module", params=["DaskRunner", "PortableRunner"])
def engine(request, tmp_path_factory):
    with running(tmp_path_factory) as start:
        is_dask = request.param == "DaskRunner"
        options = start_dask(start, workers=2) if is_dask else start_job_service(start)
        yield BeamRun(request.param, options)


def test_an_engine_gives_the_local_bytes_and_leaves_nothing(engine, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    source = open_source(str(texts))
    assert len(source.shares) >= 4
    for name, beam in (("here", None), ("there", engine)):
        build_corpus(source, TOKENIZER, tmp_path / name, 0.2, beam=beam)
    assert all_bytes(tmp_path / "here") == all_bytes(tmp_path / "there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "in", "there"]


def test_an_engine_counts_the_same_words(engine, texts, tmp_path):
    from bert_jax.data.beam_counts import count_words_with_beam

    source, how = open_source(str(texts)), WordSettings()
    ours = count_words((document.whole_text for document in source), how)
    theirs = count_words_with_beam(engine, source, how, tmp_path / "vocab.txt")
    assert theirs.words == ours.words and theirs.counts.tolist() == ours.counts.tolist()


def test_a_mistake_on_an_engine_is_the_one_that_the_local_builder_tells(engine, texts, tmp_path):
    (texts / "m.jsonl").write_text('{"other": 1}\n')
    told = []
    for beam in (None, engine):
        with pytest.raises(UserError) as caught:
            build_corpus(open_source(str(texts)), TOKENIZER, tmp_path / "c", beam=beam)
        told.append(str(caught.value))
    assert told[0] == told[1] and "m.jsonl" in told[0]


def dask_without_workers(start):
    return "DaskRunner", start_dask(start, workers=0)


def pool_without_beam(start):
    """Whose workers end as soon as they start: the `python` of its PATH has no Beam."""
    folder = Path(tempfile.mkdtemp())
    (folder / "python").write_text("#!/bin/sh\nexit 1\n")
    (folder / "python").chmod(0o755)
    return "PortableRunner", start_job_service(start, PATH=str(folder))


def pool_without_python(start):
    return "PortableRunner", start_job_service(start, PATH="/nowhere")


def nobody(start):
    return "PortableRunner", [f"--job_endpoint=127.0.0.1:{free_port()}"]


@pytest.mark.parametrize("never", [dask_without_workers, pool_without_beam, nobody])
def test_a_runner_that_never_begins_is_said_and_ends(
    never, texts, tmp_path, tmp_path_factory, monkeypatch, capsys
):
    monkeypatch.setattr(waiting, "SAY_SECONDS", 1)
    with running(tmp_path_factory) as start:
        runner, options = never(start)
        with pytest.raises(UserError, match=f"got Beam runner {runner} with options ") as caught:
            run = BeamRun(runner, options, start_seconds=4)
            build_corpus(open_source(str(texts)), TOKENIZER, tmp_path / "c", beam=run)
    words = str(caught.value).replace(f", since nothing answers at {options[0][15:]}", "")
    assert "no worker started within 4 s; expected a running engine and workers" in words
    assert (words != str(caught.value)) == (never is nobody)
    said = re.findall(r"waiting for the first worker of (\w+): \d of 4 s", capsys.readouterr().err)
    assert len(said) >= 2 and set(said) == {runner}
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_command_whose_runner_never_begins_is_one_line(texts, tmp_path, tmp_path_factory):
    with running(tmp_path_factory) as start:
        runner, options = pool_without_beam(start)
        command = [sys.executable, "-m", "experiments.learn_vocab", f"--input={texts}"]
        command += [f"--output={tmp_path / 'v.txt'}", f"--beam_runner={runner}"]
        command += [*(f"--beam_options={each}" for each in options), "--beam_start_seconds=3"]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    *_, line = done.stderr.splitlines()
    assert done.returncode == 2 and "no worker started within 3 s" in line, done.stderr
    assert line.endswith("or more --beam_start_seconds") and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_runner_whose_workers_cannot_start_is_one_line(texts, tmp_path, tmp_path_factory, capfd):
    with running(tmp_path_factory) as start, pytest.raises(UserError) as caught:
        run = BeamRun(*pool_without_python(start))
        build_corpus(open_source(str(texts)), TOKENIZER, tmp_path / "c", beam=run)
    assert "No such file or directory: 'python'; expected a runner that" in str(caught.value)
    assert "\n" not in str(caught.value) and "Traceback" not in capfd.readouterr().err


def test_dask_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    for name in ("DaskRunner", "dask"):
        with pytest.raises(UserError, match=r"expected it to be installed: .*\[beam,dask\]"):
            BeamRun(name)


def test_workers_that_share_no_disk_work_in_a_bucket(
    texts, tmp_path, tmp_path_factory, monkeypatch
):
    """Text and work in a bucket: the corpus is, but for names, the local one; nothing stays."""
    pytest.importorskip("gcsfs")
    from bert_jax.data.beam_counts import count_words_with_beam

    with gcs_server() as (environment, _), running(tmp_path_factory) as start:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        there = Prefix(f"gs://{BUCKET}/text")
        for file in texts.iterdir():
            there.put(file, file.name)
        options = start_job_service(start, **environment)
        run = BeamRun("PortableRunner", options, bucket=f"gs://{BUCKET}/work")
        source = open_source(there.url)
        assert len(source.shares) >= 4
        for name, inputs, beam in (
            ("local", str(texts), None), ("alone", there.url, None), ("beam", there.url, run),
        ):  # fmt: skip
            build_corpus(open_source(inputs), TOKENIZER, tmp_path / name, 0.2, beam=beam)
        assert all_bytes(tmp_path / "alone") == all_bytes(tmp_path / "beam")
        for split in ("train", "heldout"):
            pieces = (tmp_path / "local/arrays" / split / "pieces.npy").read_bytes()
            assert (tmp_path / "beam/arrays" / split / "pieces.npy").read_bytes() == pieces
        ours = count_words(document.whole_text for document in source)
        theirs = count_words_with_beam(run, source, WordSettings(), tmp_path / "v")
        assert theirs.hash == ours.hash
        there.write("bad.jsonl", b'{"other": 1}\n')
        with pytest.raises(UserError, match=r"gs://bucket-one/text/bad\.jsonl, line 1"):
            build_corpus(open_source(there.url), TOKENIZER, tmp_path / "c", beam=run)
        assert Prefix(f"gs://{BUCKET}/work").objects() == {}
        # Without a bucket for the work, that of the corpus is one.
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        run, made = BeamRun("PortableRunner", options), f"gs://{BUCKET}/made"
        build_corpus(open_source(there.url + "/blocks*"), TOKENIZER, made, 0.2, beam=run)
        build_corpus(open_source(there.url + "/blocks*"), TOKENIZER, tmp_path / "few", 0.2)
        assert Corpus.open(made).fingerprint == Corpus.open(tmp_path / "few").fingerprint
        others = {name.partition("/")[0] for name in Prefix(f"gs://{BUCKET}").objects()}
        assert others == {"text", "made"}
        shutil.rmtree(tmp_path / "few")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "beam", "in", "local"]


def test_commands_with_a_vocabulary_and_a_corpus_in_a_bucket(texts, tmp_path, monkeypatch):
    """By the DirectRunner, whose workers are this machine's: the local command's bytes."""
    pytest.importorskip("gcsfs")
    with gcs_server() as (environment, _):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        there = Prefix(f"gs://{BUCKET}/text")
        for file in texts.iterdir():
            there.put(file, file.name)
        flags = [f"--input={there.url}", "--vocab_size=90", "--heldout_fraction=0.2"]
        beam = ["--beam_runner=DirectRunner"]
        at = f"gs://{BUCKET}/made"
        local, made, again, wrong = run_each(
            "build_corpus",
            [
                [*flags, "--data_dir=local", "--workers=1"],
                [*flags, f"--data_dir={at}", *beam],
                [*flags, f"--data_dir={at}", *beam],
                [*flags, f"--data_dir={at}/text", *beam, "--beam_bucket=text"],
            ],
            tmp_path,
        )
        assert [each.status for each in (local, made, again, wrong)] == [0, 0, 0, 2], made
        assert f"{at}: built" in made.printed and "was built before" in again.printed
        assert wrong.errors.endswith(
            "got --beam_bucket=text; expected gs://BUCKET/… or s3://BUCKET/…\n"
        )
        assert "buckets/" not in made.printed + made.errors
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
        copy = at_hand(at)
        names = {name.partition("/")[0] for name in Prefix(f"gs://{BUCKET}").objects()}
        assert names == {"text", "made"}
        (copy / "result.json").unlink()
        (tmp_path / "local/result.json").unlink()
        assert all_bytes(copy) == all_bytes(tmp_path / "local")
    assert {each.name for each in tmp_path.iterdir()} == {"in", "local", "cache", "another"}
    work = tmp_path / "cache/bert_jax/buckets/work"
    assert [path for path in work.rglob("*") if path.is_file()] == []
