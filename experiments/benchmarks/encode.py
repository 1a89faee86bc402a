"""How fast texts become vectors here, beside transformers on torch, sorted by length.

    python -m experiments.benchmarks.encode --checkpoint=MINILM --input=lines.txt \
        --peer_python=PEERS/bin/python

MINILM is a directory of all-MiniLM-L6-v2, or of another sentence encoder that takes the mean of its
last states at unit length; a line of the input is a text. PEERS is an environment with torch and
transformers; without the flag only ours runs. The two take turns, round by round, each in a process
of its own. The first round of ours compiles and is told apart. Prints a table with medians over the
rounds, the least and the most, real tokens a second by the clock and by the processor, the most
memory of each process, how far the vectors are apart, the rate of a large product in the same run,
and the load of the machine; writes `--workdir/result.json`.
"""

import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from bert_jax.cli import command
from bert_jax.cli.outputs import check_new, define_overwrite
from bert_jax.errors import UserError
from bert_jax.inference.features import FeatureExtractor
from bert_jax.memory import peak_rss_bytes
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.training.workdir import own_workdir
from bert_jax.whole_file import write_json

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Directory of a sentence encoder.")
_INPUT = flags.DEFINE_string("input", None, "A UTF-8 text file, one text per line.")
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ("float32", "bfloat16"), "What the model computes in."
)
_MAX_LENGTH = flags.DEFINE_integer(
    "max_length", 256, "Tokens to truncate a text to.", lower_bound=2
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns per side.", lower_bound=1)
_PEER = flags.DEFINE_string("peer_python", None, "A Python with torch and transformers.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/encode", "Folder for result.json.")
define_overwrite()


def main() -> None:
    """Run both sides in turns and report."""
    if not (_CHECKPOINT.value and _INPUT.value):
        raise UserError("got no --checkpoint or --input; expected a directory and a text file")
    if not Path(_INPUT.value).is_file():
        raise UserError(f"got --input={_INPUT.value}, which is not a file; expected a text file")
    if _PEER.value and not Path(_PEER.value).is_file():
        raise UserError(
            f"got --peer_python={_PEER.value}, which is not a file; expected a Python with torch"
            " and"
            " transformers"
        )
    with own_workdir(_WORKDIR.value or "") as place:
        check_new("workdir", place.folder / "result.json")
        measure(place.folder)


def measure(workdir: Path) -> None:
    """Do so in a folder on this machine."""
    if jax.default_backend() == "cpu":
        keep_freed_memory()  # as experiments.extract_features does
    texts = Path(str(_INPUT.value)).read_text(encoding="utf-8").splitlines()
    extractor = FeatureExtractor.from_pretrained(
        str(_CHECKPOINT.value), dtype=jnp.dtype(_DTYPE.value), max_length=_MAX_LENGTH.value
    )
    tokens = sum(len(each.ids) for each in extractor.tokenizer.inputs_of(texts, _MAX_LENGTH.value))
    first = _encode(extractor, texts)
    result: dict[str, Any] = {
        "texts": len(texts),
        "tokens": tokens,
        "dtype": _DTYPE.value,
        "jax": jax.__version__,
        "compiled_shapes": extractor.compiled_shapes,
    }
    ours, theirs = [], []
    peer = _Peer(_PEER.value) if _PEER.value else None
    for _ in range(_ROUNDS.value):
        ours.append(_encode(extractor, texts))
        if peer:
            theirs.append(peer.encode())
    result |= _summary("ours", ours, tokens)
    compiling = first["processor_seconds"] - result["ours_processor_seconds"]
    result["ours_compiling_processor_seconds"] = max(compiling, 0.0)
    if peer:
        result |= peer.versions
        peer.close()
        result |= _summary("peer", theirs, tokens)
        ratios = [t["seconds"] / o["seconds"] for o, t in zip(ours, theirs, strict=True)]
        result["times_faster"] = statistics.median(ratios)
        result["times_faster_least"], result["times_faster_most"] = min(ratios), max(ratios)
        result["times_less_processor"] = (
            result["peer_processor_seconds"] / result["ours_processor_seconds"]
        )
        apart = np.subtract(ours[-1]["first_numbers"], theirs[-1]["first_numbers"])
        result["furthest_apart"] = float(np.abs(apart).max())
    result["product_gigaflops_a_processor_second"] = _product_rate()
    result["load"] = os.getloadavg()[0]
    write_json(workdir / "result.json", result)
    command.print_table("Encoding", result)


def _encode(extractor: FeatureExtractor, texts: list[str]) -> dict[str, Any]:
    wall, used = time.perf_counter(), time.process_time()
    vectors = [each.vectors[extractor.layers[-1]] for each in extractor(texts)]
    return {
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - used,
        "peak_mib": peak_rss_bytes() / 2**20,
        "first_numbers": [vector[:4].tolist() for vector in vectors],
    }


class _Peer:
    """transformers in a process of its own; see `encode_peer.py`."""

    def __init__(self, python: str):
        job = {
            "checkpoint": _CHECKPOINT.value,
            "input": _INPUT.value,
            "dtype": _DTYPE.value,
            "max_length": _MAX_LENGTH.value,
        }
        script = Path(__file__).with_name("encode_peer.py")
        self._process = subprocess.Popen(
            [python, str(script), json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.versions = self._read()

    def encode(self) -> dict[str, Any]:
        """Encode all texts once, and say what it took."""
        assert self._process.stdin is not None
        self._process.stdin.write("again\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise UserError(
                "the process behind --peer_python ended (see its message above); expected a"
                " Python with torch and transformers"
            )
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        with self._process:  # closes the pipes and waits
            self._process.terminate()


def _summary(name: str, rounds: list[dict[str, Any]], tokens: int) -> dict[str, float]:
    seconds = [each["seconds"] for each in rounds]
    used = statistics.median(each["processor_seconds"] for each in rounds)
    return {
        f"{name}_seconds": statistics.median(seconds),
        f"{name}_seconds_least": min(seconds),
        f"{name}_seconds_most": max(seconds),
        f"{name}_tokens_per_second": tokens / statistics.median(seconds),
        f"{name}_processor_seconds": used,
        f"{name}_tokens_per_processor_second": tokens / used,
        f"{name}_peak_mib": max(each["peak_mib"] for each in rounds),
    }


def _product_rate() -> float:
    """Of [2048, 1024] by [1024, 1024] in the dtype asked for, the best of ten."""
    left = jnp.ones((2048, 1024), _DTYPE.value)
    right = jnp.ones((1024, 1024), _DTYPE.value)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(left, right))
    took = []
    for _ in range(10):
        used = time.process_time()
        jax.block_until_ready(product(left, right))
        took.append(time.process_time() - used)
    return 2 * 2048 * 1024 * 1024 / min(took) / 1e9


if __name__ == "__main__":
    command.run(main)
