"""How fast the loader plans, packs and makes batches here.

    python -m experiments.benchmarks.loader
    python -m experiments.benchmarks.loader --corpus=DIR_MADE_BY_BUILD_CORPUS --length=512

Without --corpus: made-up documents whose sentences, documents and piece frequencies are as skewed
as real ones. Prints a table and writes `--workdir/result.json`:

* planning (and packing) one epoch: seconds, and seconds per million sentences;
* fill: real tokens in a row, one instance a row and packed;
* one core: tokens/s of `batches[step]`, new epochs included, token and whole-word masking;
* what reaches a reader of `iterate` with a prefetch thread and with worker processes.

Tokens are real ones, padding not counted. In 70 s, on two cores of an x86-64 machine shared with
others (load 4 to 8): a million made-up sentences planned in 0.10 s and packed in 0.03 s; rows of
128 tokens .84 full, packed .99; one core 21 million tokens/s, a prefetch thread 12, one worker
process 4.5, two 6.4. On 63 MB of novels, dictionaries and manuals (--corpus): one core 17 million.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from bert_jax.cli import command
from bert_jax.cli.outputs import check_new, define_overwrite
from bert_jax.data.corpus import Corpus
from bert_jax.data.documents import Documents
from bert_jax.data.instances import plan_instances
from bert_jax.data.loader import Batches, Phase, RowSettings
from bert_jax.data.masking import Masking, Vocabulary
from bert_jax.data.packing import pack_instances
from bert_jax.data.row_layout import Batch
from bert_jax.training.workdir import own_workdir
from bert_jax.whole_file import write_json

_CORPUS = flags.DEFINE_string(
    "corpus", None, "Folder made by build_corpus; by default made-up text."
)
_SENTENCES = flags.DEFINE_integer("sentences", 1_000_000, "Made-up sentences.", lower_bound=100)
_LENGTH = flags.DEFINE_integer("length", 128, "Tokens per row.", lower_bound=5)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Batch size, in rows.", lower_bound=1)
_PACKED = flags.DEFINE_integer(
    "max_instances", 32, "Most examples packed into a row.", lower_bound=2
)
_WORKERS = flags.DEFINE_multi_integer(
    "workers", [1, 2], "Worker processes; may be repeated.", lower_bound=1
)
_SECONDS = flags.DEFINE_float(
    "seconds", 3.0, "Seconds each speed is measured for.", lower_bound=0.1
)
_WORKDIR = flags.DEFINE_string("workdir", "runs/loader", "Folder for result.json.")
define_overwrite()


class MadeUpVocabulary:
    """30,522 pieces, the specials first, a quarter of the others continuations."""

    vocab_size = 30522
    pad_id, cls_id, sep_id, mask_id = 0, 2, 3, 4
    special_ids = (0, 1, 2, 3, 4)
    is_continuation = (np.arange(vocab_size) % 4 == 3) & (np.arange(vocab_size) > 4)


def made_up_documents(sentences: int, vocab_size: int) -> Documents:
    """Return documents of about 25 sentences (log-normal) of about 20 pieces (gamma), Zipfian."""
    generator = np.random.default_rng(0)
    lengths = 1 + generator.gamma(2.0, 10.0, sentences).astype(np.int64)
    per_document = 1 + generator.lognormal(2.6, 1.1, sentences).astype(np.int64)
    ends = np.cumsum(per_document)
    document_starts = np.concatenate([[0], ends[ends < sentences], [sentences]])
    sentence_starts = np.concatenate([[0], np.cumsum(lengths)])
    ranks = generator.zipf(1.2, sentence_starts[-1]) % (vocab_size - 5)
    return Documents((5 + ranks).astype(np.uint16), sentence_starts, document_starts)


def seconds_of(work: Callable[[], Any]) -> float:
    """Return the least seconds of three runs of `work`, after one that compiles."""
    work()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def tokens_per_second(batches: Iterator[Batch]) -> float:
    """Return the real tokens a second that `batches` yields, its first batch not counted."""
    next(batches)
    tokens, start = 0, time.perf_counter()
    for batch in batches:
        tokens += int(np.count_nonzero(batch["instance_ids"]))
        if time.perf_counter() - start > _SECONDS.value:
            break
    return tokens / (time.perf_counter() - start)


def main() -> None:
    """Measure, print, write."""
    with own_workdir(_WORKDIR.value or "") as place:
        check_new("workdir", place.folder / "result.json")
        measure(place.folder)


def measure(workdir: Path) -> None:
    """Do so in a folder on this machine."""
    vocabulary: Vocabulary = MadeUpVocabulary()
    if _CORPUS.value:
        corpus = Corpus.open(_CORPUS.value)
        documents, vocabulary = corpus.train, corpus.tokenizer
    else:
        documents = made_up_documents(_SENTENCES.value, vocabulary.vocab_size)
    length = _LENGTH.value
    result: dict[str, Any] = {
        "documents": len(documents.document_starts) - 1,
        "sentences": len(documents.sentence_starts) - 1,
        "pieces": len(documents.pieces),
        "length": length,
        "batch_size": _BATCH_SIZE.value,
    }

    plan = plan_instances(documents, length, 0, 0)
    result["planning_seconds"] = seconds_of(lambda: plan_instances(documents, length, 0, 0))
    result["planning_seconds_per_million_sentences"] = (
        result["planning_seconds"] / result["sentences"] * 1e6
    )
    result["instances"] = len(plan)
    result["random_next"] = float(plan.is_random.mean())
    packed = pack_instances(plan, length, _PACKED.value)
    result["packing_seconds"] = seconds_of(lambda: pack_instances(plan, length, _PACKED.value))
    tokens = int(plan.total_lengths.sum())
    result["fill_one_instance_a_row"] = tokens / (length * len(plan))
    result["fill_packed"] = tokens / (length * len(packed))

    def batches(whole_word: bool = False, max_instances: int = 1) -> Batches:
        settings = RowSettings(
            _BATCH_SIZE.value, max_instances, masking=Masking(whole_word=whole_word)
        )
        return Batches(
            documents,
            vocabulary,
            seed=0,
            steps=10**9,
            phases=[Phase(length, 1.0)],
            settings=settings,
        )

    result["one_core_tokens_per_second"] = tokens_per_second(iter(batches()))
    result["one_core_whole_word_tokens_per_second"] = tokens_per_second(
        iter(batches(whole_word=True))
    )
    result["one_core_packed_tokens_per_second"] = tokens_per_second(
        iter(batches(max_instances=_PACKED.value))
    )
    for workers in (0, *_WORKERS.value):
        with batches().iterate(workers=workers, buffer=16) as stream:
            name = f"{workers}_workers" if workers else "prefetch_thread"
            result[f"{name}_tokens_per_second"] = tokens_per_second(stream)

    write_json(workdir / "result.json", result)
    command.print_table("loader", result)


if __name__ == "__main__":
    command.run(main)
