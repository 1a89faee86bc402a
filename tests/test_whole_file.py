"""What is written is there whole or not at all, and nothing of it stays beside."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.whole_file import (
    partial_folder,
    whole_file,
    whole_folder,
    write_json,
    write_json_lines,
    write_text,
)


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    write_text(tmp_path / "a.txt", "old\r\n")
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "a.txt").read_bytes() == b"old\r\n"
    with whole_file(str(tmp_path / "b.npz")) as partial:
        np.savez(partial, x=np.arange(3))  # which would add the suffix where it is missing
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.npz"]


def test_mistakes_are_one_line_and_other_errors_stay(tmp_path):
    for place, reason in (
        (tmp_path / "absent" / "a.txt", "No such file or directory"),
        (tmp_path, "it is a folder"),
    ):
        with pytest.raises(UserError, match=rf"which cannot be written \({reason}\)"):
            write_text(place, "x")
    with pytest.raises(UserError, match="No space left"), whole_file(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a.txt"):
        (tmp_path / "something else").read_text()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["", ".", "/"])
def test_the_folder_one_is_in_is_no_file_and_is_not_replaced(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"which cannot be written \(it is a folder\)"):
        write_text(place, "x")
    with pytest.raises(UserError, match=r"the folder one is in or the topmost, which cannot be"):
        fill(place, "x", overwrite=True)
    assert list(tmp_path.iterdir()) == []


def test_json(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2.5]})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": [\n    1,\n    2.5\n  ]\n}\n'
    write_json_lines(tmp_path / "a.jsonl", ({"ä": n} for n in range(2)))
    assert (tmp_path / "a.jsonl").read_text(encoding="utf-8") == '{"ä": 0}\n{"ä": 1}\n'


def test_writers_of_one_process_do_not_meet(tmp_path):
    barrier = threading.Barrier(2)

    def write(letter):
        with whole_file(tmp_path / "a.txt") as partial:
            barrier.wait()
            partial.write_text(letter * 10)
            barrier.wait()

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a.txt").read_text() in ("a" * 10, "b" * 10)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def fill(path, content, **options):
    with whole_folder(path, **options) as partial:
        (partial / "file").write_text(content)


def test_folders(tmp_path):
    place = tmp_path / "made" / "folder"
    fill(place, "first")
    with pytest.raises(UserError, match="which is not empty"):
        fill(place, "second")
    fill(place, "second", keep_other=True)
    assert (place / "file").read_text() == "first"
    with pytest.raises(ZeroDivisionError), whole_folder(place, overwrite=True):
        raise ZeroDivisionError
    assert (place / "file").read_text() == "first"
    fill(place, "second", overwrite=True)
    assert (place / "file").read_text() == "second"
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "empty", "into an empty one")
    with pytest.raises(UserError, match="which is a file"):
        fill(place / "file", "x")
    with (
        pytest.raises(UserError, match="where the finished directory cannot be put"),
        whole_folder(tmp_path / "new") as partial,
    ):
        (partial / "file").touch()
        fill(tmp_path / "new", "another was faster")
    assert (tmp_path / "new" / "file").read_text() == "another was faster"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "made", "new"]
    assert [path.name for path in place.parent.iterdir()] == ["folder"]


LEAVE = """
import os, sys
from bert_jax.whole_file import partial_folder, whole_file
with partial_folder(sys.argv[1]), whole_file(sys.argv[1] + ".txt") as file:
    file.touch()
    os._exit(0)
"""


def leave(place, *within):
    """Let another process begin a folder and a file, and die; returns what it leaves."""
    before = set(place.parent.iterdir())
    subprocess.run([*within, sys.executable, "-c", LEAVE, str(place)], check=True)
    return sorted(set(place.parent.iterdir()) - before)


def test_what_a_killed_process_left_is_tidied_up_and_what_a_live_one_fills_is_not(tmp_path):
    place = tmp_path / "odd [name]"
    folder, file = leave(place)
    elsewhere = folder.with_name(folder.name.replace("partial-", "partial-other-machine-"))
    elsewhere.mkdir()
    with partial_folder(place) as mine, partial_folder(place) as second:
        assert mine != second
        assert mine.is_dir() and not folder.exists() and elsewhere.exists()
        assert f"-{os.getpid()}-" in mine.name
    with whole_file(f"{place}.txt") as mine, whole_file(f"{place}.txt") as second:
        mine.touch()
        assert not file.exists()
        second.touch()
    os.utime(elsewhere, (0, 0))  # nobody has changed it for more than a day
    with partial_folder(place):
        assert not elsewhere.exists()
    assert sorted(tmp_path.iterdir()) == [tmp_path / "odd [name].txt"]


def test_a_container_knows_what_it_left_from_what_another_fills(tmp_path, new_pid_namespace):
    """Every container's command is process 1, on hosts of one name here."""
    place = tmp_path / "corpus"
    for _ in range(2):
        folder, file = leave(place, *new_pid_namespace)
        assert "-1-" in folder.name and "-1-" in file.name
    assert len(list(tmp_path.iterdir())) == 4  # the first may be at work still: nobody can tell
    old = 24 * 3600 + 60
    for left in tmp_path.iterdir():
        os.utime(left, (time.time() - old, time.time() - old))
    assert len(leave(place, *new_pid_namespace)) == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_a_device_is_not_replaced_by_a_file():
    with (
        pytest.raises(UserError, match="cannot be written \\(it is a device or a pipe\\)"),
        whole_file("/dev/null"),
    ):
        pass
    assert not Path("/dev/null").is_file()


def test_what_is_no_folder_is_not_replaced_by_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for overwrite in (False, True):
        with (
            pytest.raises(UserError, match=r"pipe, which is a device or a pipe; expected a dir"),
            whole_folder(pipe, overwrite=overwrite),
        ):
            pass
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]
