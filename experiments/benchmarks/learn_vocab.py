r"""Speed and memory of learning a vocabulary, beside the trainer of the `tokenizers` library.

    python -m experiments.benchmarks.learn_vocab --input=../shared/data/corpus --rounds=3

Both read the same files in processes of their own, by turns, and write a vocabulary. A learning
phase is everything after the words are counted: for the peer, from the moment its progress bar says
"Tokenize words" (it has no other way to tell). One more run of ours starts with an empty cache of
compiled code. Prints medians; docs/vocabulary.md holds what came out.
"""

import json
import os
import pty
import statistics
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from bert_jax.cli import command
from bert_jax.data.found_files import find_files

_INPUT = flags.DEFINE_string("input", None, "A folder of text files.", required=True)
_VOCAB_SIZE = flags.DEFINE_integer("vocab_size", 30522, "Size of the vocabulary, in tokens.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Turns per side.", lower_bound=1)

_PEER = """
import sys, tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers
size, output, *files = sys.argv[1:]
tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
tokenizer.normalizer = normalizers.BertNormalizer()
tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
tokenizer.train(files, trainers.WordPieceTrainer(vocab_size=int(size), special_tokens=special))
print("TRAINED", flush=True)
tokenizer.model.save(output)
"""


def main() -> None:
    """Run both by turns and print medians and ratios."""
    files = [str(file) for file in find_files(_INPUT.value or "").files]
    ours: list[dict[str, float]] = []
    peer: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "compiled"
        cold = _run_ours(folder, cache)
        for _ in range(_ROUNDS.value or 1):
            ours.append(_run_ours(folder, cache))
            peer.append(_run_peer(folder, files))
    warm = {name: statistics.median(run[name] for run in ours) for name in ours[0]}
    other = {name: statistics.median(run[name] for run in peer) for name in peer[0]}
    rows: dict[str, object] = {}
    for name, unit in (("wall", "s"), ("counting", "s"), ("learning", "s"), ("peak", "MB")):
        rows[f"{name}, ours / tokenizers ({unit})"] = (
            f"{warm[name]:.2f} / {other[name]:.2f}  ratio {warm[name] / other[name]:.2f}"
        )
    rows["first run, with compilation (s)"] = cold["wall"]
    rows["of which compilation (s)"] = cold["wall"] - warm["wall"]
    rows["load before and after"] = " ".join(f"{load:.1f}" for load in os.getloadavg())
    command.print_table(f"{len(files)} files, {_VOCAB_SIZE.value} rows, {len(ours)} rounds", rows)


def _run_ours(folder: str, cache: Path) -> dict[str, float]:
    output = f"{folder}/vocab.txt"
    arguments = [f"--input={_INPUT.value}", f"--vocab_size={_VOCAB_SIZE.value}"]
    arguments.append(f"--output={output}")
    wall, peak, _ = _run(["-m", "experiments.learn_vocab", *arguments], str(cache))
    record = json.loads(Path(output + ".json").read_text())
    return {
        "wall": wall,
        "peak": peak,
        "counting": record["seconds_counting"],
        "learning": record["seconds_learning"],
    }


def _run_peer(folder: str, files: list[str]) -> dict[str, float]:
    wall, peak, seen = _run(["-c", _PEER, str(_VOCAB_SIZE.value), folder, *files], folder)
    learning = seen["TRAINED"] - seen["Tokenize words"]
    return {"wall": wall, "peak": peak, "counting": seen["Tokenize words"], "learning": learning}


def _run(arguments: list[str], cache: str) -> tuple[float, float, dict[str, float]]:
    """Run Python on a terminal of its own; return seconds, peak MB, and when marks were printed."""
    began = time.perf_counter()
    child, terminal = pty.fork()
    if child == 0:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        os.execve(sys.executable, [sys.executable, *arguments], environment)
    seen: dict[str, float] = {}
    while True:
        try:
            text = os.read(terminal, 1 << 16)
        except OSError:  # Linux says so when the other end closes
            break
        for mark in ("Tokenize words", "TRAINED"):
            if mark.encode() in text:
                seen.setdefault(mark, time.perf_counter() - began)
    _, status, usage = os.wait4(child, 0)
    os.close(terminal)
    if status != 0:
        raise RuntimeError(f"{arguments[:2]} ended with status {status}")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - began, usage.ru_maxrss * unit / 1e6, seen


if __name__ == "__main__":
    command.run(main)
