"""One run at a time in a folder of a bucket; what a machine that has gone left is taken over."""

import dataclasses
import json
import threading

import pytest

from bert_jax import bucket_lock
from bert_jax.bucket import Prefix
from bert_jax.bucket_lock import BucketLock, alone_in_bucket
from bert_jax.errors import UserError
from bert_jax.lock import Note

FAR = "far-00000000-7-1"  # a process of another machine, which nobody here can ask


def of_another_machine(folder):
    note = dataclasses.replace(Note.mine(), owner=FAR, boot="another")
    (folder / ".lock").write(FAR, json.dumps(dataclasses.asdict(note)).encode())


@pytest.fixture
def folder(bucket):
    return Prefix(f"{bucket}/runs/mine")


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(bucket_lock, "_BEAT", 0.2)
    monkeypatch.setattr(bucket_lock, "_SILENT", 3.0)


def test_it_lies_there_meanwhile(folder):
    with alone_in_bucket(folder, "workdir=w") as lock:
        assert len(folder.objects()) == 1
        lock.check()
    assert folder.objects() == {}


def test_the_second_is_told_who_is_at_work(folder, quick):
    of_another_machine(folder)
    over = threading.Event()

    def work():
        while not over.wait(0.2):
            of_another_machine(folder)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        with pytest.raises(UserError) as raised, alone_in_bucket(folder, "workdir=w"):
            pass
    finally:
        over.set()
        worker.join()
    assert "got workdir=w, where process 7 of host far, begun 0 min ago is running" in str(
        raised.value
    )
    assert list((folder / ".lock").objects()) == [FAR]


def test_what_a_machine_that_has_gone_left_is_taken_over(folder, quick, capsys):
    of_another_machine(folder)
    with alone_in_bucket(folder, "workdir=w"):
        assert FAR not in (folder / ".lock").objects()
    assert "workdir=w was left locked by process 7 of host far" in capsys.readouterr().err


def test_whoever_was_taken_over_from_sends_nothing_more(folder, quick):
    lock = BucketLock(folder / ".lock", "workdir=w")
    lock.take()
    lock.give_back()
    of_another_machine(folder)
    lock.keep(threading.Event())
    with pytest.raises(UserError, match=f"which process {FAR} took over"):
        lock.check()
