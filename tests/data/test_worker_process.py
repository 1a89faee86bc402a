"""Worker processes leave with their parent, and not before it, whatever signal comes."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import util
from pathlib import Path

import numpy as np
import pytest

from bert_jax.data.document import Document
from bert_jax.data.prefetch import Prefetched
from bert_jax.data.tokenising import tokenise_all
from bert_jax.stop_request import SIGNALS
from bert_jax.text.tokenizer import Tokenizer

_PROGRAM = """
import sys
from itertools import count
from bert_jax.cli import command
from bert_jax.data.document import Document
from bert_jax.data.tokenising import tokenise_all
from bert_jax.text.tokenizer import Tokenizer

def main():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]
    documents = (Document(str(n), "a " * 300_000) for n in count())
    for _ in tokenise_all(documents, Tokenizer(pieces), workers=2):
        print("made", flush=True)

if __name__ == "__main__":
    sys.argv = ["experiments/job.py"]
    command.run(main)
"""


@pytest.mark.parametrize(
    "number, status",
    [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_none_is_left_and_the_parent_speaks_alone(tmp_path, number, status):
    script = tmp_path / "script.py"
    script.write_text(_PROGRAM)
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == "made\n"  # so its workers are at work
    if number == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, number)  # as a terminal and a scheduler do
    began = time.monotonic()
    _, said = process.communicate(timeout=60)  # until the workers, too, have closed it
    assert process.returncode == status and time.monotonic() < began + 15
    if number != signal.SIGKILL:  # of which Python itself says what it tidied
        assert len(said.splitlines()) == 1, said
    while is_there(process.pid):
        assert time.monotonic() < began + 20
        time.sleep(0.1)


def is_there(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class Source:
    def __len__(self):
        return 9

    def __getitem__(self, index):
        return {"row": np.full(2, index)}


def test_every_worker_begins_with_the_signals_held_back(monkeypatch):
    held = []

    def spawn(path, arguments, descriptors):
        held.append(set(SIGNALS) <= signal.pthread_sigmask(signal.SIG_BLOCK, []))
        return spawned(path, arguments, descriptors)

    spawned = util.spawnv_passfds
    monkeypatch.setattr(util, "spawnv_passfds", spawn)
    documents = (Document(str(n), "a " * 300_000) for n in range(6))
    tokenizer = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
    assert len(list(tokenise_all(documents, tokenizer, workers=2))) == 6
    tokenising = len(held)
    with Prefetched(Source(), 0, workers=2, threads=1, buffer=2) as batches:
        assert [int(batch["row"][0]) for batch in batches] == list(range(9))
    assert tokenising >= 2 and len(held) >= tokenising + 2 and all(held), held
