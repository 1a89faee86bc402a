r"""What does each part of the input representation buy? Train without it, and see what is lost.

    python -m experiments.ablate_embeddings --workdir=runs/ablations --seeds=0,1

Trains one small model ten times a seed, on the same batches for the same number of steps: intact,
and with the token, segment or position part

    removed    it adds nothing: its vectors are zero
    shuffled   the tokens of a row get its vectors in a random order, another for every row
    frozen     its table keeps the random values it was drawn with

(`bert_jax/analysis/ablations.py`). The decoder is untied, so that the token part can go without the
output layer. On held-out documents, changed in the same way, it measures

    mlm      loss in nats a masked piece, with the 95 % interval of this sample of batches
    nsp      accuracy of next sentence prediction, with its 95 % interval; chance is one half
    order    word-order probe: of two tokens of one sentence part (A or B), one to five places
             apart, which comes first? A linear probe reads the difference of their hidden states;
             chance is one half, and the pairs are given in either order at random
    segment  sentence-A/B probe: is a token of A or of B? A linear probe reads its hidden state;
             beside it, the accuracy of always answering the more frequent

Both probes are logistic regressions on the last layer's hidden states of unmasked rows, fitted on
the rows of one half of the held-out documents (four tokens or pairs a row) and tested on those of
the other half (one a row, so that trials are independent). The special tokens are left out. Prints
a row a variant: of one seed with the intervals, of several the mean and, for the spread, the least
and the greatest. Writes a row a run to `result.json`, and draws them as `ablations.svg`. A run
that is finished is not repeated.

On 63 MB of books and the like, --steps=400 --batch_size=32 --seeds=0,1 took 58 min of one core;
docs/updates_and_vocabulary.md has what came out.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import flags
from flax import nnx
from rich.table import Table

from bert_jax.analysis.ablations import VARIANTS, Variant
from bert_jax.analysis.probes import (
    Examples,
    ProbeResult,
    joined,
    linear_probe,
    order_examples,
    segment_examples,
)
from bert_jax.arguments import MOST_SEED
from bert_jax.cli import command
from bert_jax.cli.compiled_programs import define_compilation_cache
from bert_jax.config import BertConfig
from bert_jax.console import plain_console
from bert_jax.data.corpus import Corpus
from bert_jax.data.documents import Documents
from bert_jax.data.loader import Batches, HeldoutBatches, Phase, RowSettings
from bert_jax.data.masking import Masking
from bert_jax.data.preparation import prepare_corpus
from bert_jax.data.row_layout import Batch
from bert_jax.errors import UserError
from bert_jax.figures import Interval, draw_intervals
from bert_jax.file_digests import read_sealed, write_sealed
from bert_jax.memory import check_sizes
from bert_jax.model.bert import BertForPreTraining
from bert_jax.parameters import merge_model, split_model
from bert_jax.progress import ProgressBar
from bert_jax.statistics import ratio_interval, unigram_entropy, wilson_interval
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.training.optimizers import create_optimizer
from bert_jax.training.schedules import warmup_polynomial
from bert_jax.training.state import create_state
from bert_jax.training.steps import create_eval_step, create_train_step
from bert_jax.training.workdir import Workdir, check_contents, own_workdir, prepared_workdir
from bert_jax.whole_file import write_json, write_text

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", "runs/ablations", "Folder for everything the experiment writes.")
flags.DEFINE_multi_string(
    "corpus", ["python_docs"], "Text to train on, as for experiments.pretrain."
)
flags.DEFINE_integer(
    "vocab_size", 4096, "Size of the learned vocabulary, in tokens.", lower_bound=1
)
flags.DEFINE_integer("layers", 2, "Number of layers.", lower_bound=1)
flags.DEFINE_integer("width", 256, "Width of the model, a multiple of 64.", lower_bound=64)
flags.DEFINE_integer("steps", 300, "Length of each run, in optimiser steps.", lower_bound=1)
flags.DEFINE_integer("batch_size", 64, "Batch size, in rows.", lower_bound=1)
flags.DEFINE_integer("length", 64, "Tokens per row.", lower_bound=16)
flags.DEFINE_float("learning_rate", 1e-3, "Peak learning rate.", lower_bound=0.0)
flags.DEFINE_integer("eval_batches", 32, "Held-out batches for MLM and NSP.", lower_bound=2)
flags.DEFINE_integer(
    "probe_batches", 32, "Batches to fit each probe on, and as many to test it on.", 1
)
flags.DEFINE_list("seeds", ["0"], "Random seeds, as in 0,1,2: one run per seed and variant.")
define_compilation_cache()
_MAY_CHANGE = ("seeds",)
_SETTINGS = (
    "corpus", "vocab_size", "layers", "width", "steps", "batch_size", "length", "learning_rate",
    "eval_batches", "probe_batches", *_MAY_CHANGE,
)  # fmt: skip
_SHUFFLES_HELDOUT = 1 << 20  # apart from the orders of the training batches


def main() -> None:
    """Do the runs that are not done yet, then show all."""
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    seeds = command.whole_numbers("seeds", FLAGS.seeds, 0, MOST_SEED)
    if FLAGS.width % 64:
        raise UserError(f"got --width={FLAGS.width}; expected a multiple of 64, the head width")
    check_sizes(_config(FLAGS.vocab_size), FLAGS.batch_size, FLAGS.length)
    with own_workdir(FLAGS.workdir) as place:
        compare_variants(seeds, place)


def compare_variants(seeds: list[int], place: Workdir) -> None:
    """Do so in a working directory of this process, which is sent after each run."""
    settings = {name: FLAGS[name].value for name in _SETTINGS}
    with prepared_workdir(place.folder, settings, _MAY_CHANGE) as workdir:
        corpus = prepare_corpus(
            FLAGS.corpus,
            vocab=None,
            vocab_size=FLAGS.vocab_size,
            lowercase=True,
            heldout_fraction=0.05,
            workdir=workdir,
        )
        check_contents(workdir, {"corpus": {"content": corpus.fingerprint}})
        halves = split_in_two(corpus.heldout)
        rows = RowSettings(FLAGS.batch_size)
        for part in (corpus.train, *halves):  # a corpus that is too small is said now
            HeldoutBatches(part, corpus.tokenizer, length=FLAGS.length, settings=rows)
    results = []
    with ProgressBar("training", len(seeds) * len(VARIANTS) * FLAGS.steps) as bar:
        for number, (seed, variant) in enumerate((s, v) for s in seeds for v in VARIANTS):
            path = workdir / f"{variant.name}-{seed}.json"
            if not path.exists():
                write_sealed(path, run(variant, seed, corpus, halves, bar))
                place.publish()
            results.append(read_sealed(path, "remove it, and its run is done again"))
            bar.update((number + 1) * FLAGS.steps, path.stem)
    write_json(
        workdir / "result.json",
        {
            "settings": settings,
            "corpus_fingerprint": corpus.fingerprint,
            "heldout_unigram_entropy": unigram_entropy(corpus.heldout.pieces),
            "rows": results,
        },
    )
    write_text(workdir / "ablations.svg", plot_rows(results))
    print_rows(results)


def _config(vocab_size: int) -> BertConfig:
    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=FLAGS.width,
        num_hidden_layers=FLAGS.layers,
        num_attention_heads=FLAGS.width // 64,
        intermediate_size=4 * FLAGS.width,
        max_position_embeddings=FLAGS.length,
        tie_word_embeddings=False,
    )


def run(
    variant: Variant,
    seed: int,
    corpus: Corpus,
    halves: tuple[Documents, Documents],
    bar: ProgressBar,
) -> dict[str, Any]:
    """Train one variant and measure it."""
    config = _config(corpus.tokenizer.vocab_size)
    model = BertForPreTraining(config, nnx.Rngs(seed))
    variant.change_model(model)
    definition, params = split_model(model)
    rate = warmup_polynomial(FLAGS.learning_rate, FLAGS.steps, FLAGS.steps // 10)
    optimizer, frozen = create_optimizer("adamw", rate, 0.01, clip_norm=1.0), variant.frozen_paths
    step = create_train_step(definition, optimizer, rate, seed, frozen=frozen)
    step = jax.jit(step, donate_argnums=0)
    state = jax.jit(create_state, static_argnums=(1, 2))(params, optimizer, frozen)
    batches = Batches(
        corpus.train, corpus.tokenizer, seed=seed, steps=FLAGS.steps,
        phases=[Phase(FLAGS.length, 1.0)], settings=RowSettings(FLAGS.batch_size),
    )  # fmt: skip
    for number, batch in enumerate(batches):
        state, _ = step(state, variant.change_batch(batch, seed, number))
        if (number + 1) % 10 == 0:
            bar.advance(10)
    eval_step = compiled_eval_step(definition)
    heldout = HeldoutBatches(
        corpus.heldout, corpus.tokenizer, length=FLAGS.length,
        settings=RowSettings(FLAGS.batch_size), max_batches=FLAGS.eval_batches,
    )  # fmt: skip
    changed = [
        variant.change_batch(batch, seed, _SHUFFLES_HELDOUT + number)
        for number, batch in enumerate(heldout)
    ]
    sums = [jax.device_get(eval_step(state.params, batch)) for batch in changed]
    order, segment = probe(variant, seed, corpus, halves, definition, state.params)
    return {"part": variant.part, "way": variant.way, "seed": seed} | figures(sums, order, segment)


@functools.cache
def compiled_eval_step(definition: nnx.GraphDef) -> Callable[[Any, Batch], Any]:
    """The evaluation step; variants that change no module share it."""
    return jax.jit(create_eval_step(definition))


@functools.cache
def compiled_encoder(definition: nnx.GraphDef) -> Callable[[Any, Batch], jax.Array]:
    """From parameters and a batch to hidden states [B, L, D], without dropout."""

    def encode(params: Any, batch: Batch) -> jax.Array:
        bert = merge_model(definition, params).bert
        real = batch["instance_ids"] > 0
        ids = (batch["input_ids"], batch["token_type_ids"], real, batch["position_ids"])
        return bert(*ids).last_hidden_state

    return jax.jit(encode)


def figures(sums: list[dict[str, Any]], order: ProbeResult, segment: ProbeResult) -> dict[str, Any]:
    """A run's row, from the sums of each held-out batch and the two probes."""
    nats, count, hits, pairs = (
        np.array([float(batch[name]) for batch in sums])
        for name in ("mlm_nats", "mlm_count", "nsp_hits", "nsp_count")
    )
    loss, interval = ratio_interval(nats, count)
    return {
        "mlm_loss": loss,
        "mlm_interval": interval,
        "nsp_accuracy": float(hits.sum() / pairs.sum()),
        "nsp_interval": wilson_interval(round(hits.sum()), round(pairs.sum())),
        "order_accuracy": order.accuracy,
        "order_interval": order.interval,
        "order_chance": order.chance,
        "segment_accuracy": segment.accuracy,
        "segment_interval": segment.interval,
        "segment_chance": segment.chance,
        "probe_trials": order.trials,
    }


def probe(
    variant: Variant,
    seed: int,
    corpus: Corpus,
    halves: tuple[Documents, Documents],
    definition: Any,
    params: Any,
) -> tuple[ProbeResult, ProbeResult]:
    """Fit both probes on rows of the first half and test them on rows of the second."""
    encode, special = compiled_encoder(definition), corpus.tokenizer.special_ids
    # One piece a row is masked, by itself: the least the loader masks, and it is not probed.
    settings = RowSettings(
        FLAGS.batch_size, masking=Masking(max_predictions=1, mask_fraction=0, random_fraction=0)
    )
    sides = []
    for side, each in ((0, 4), (1, 1)):
        draw = np.random.default_rng([seed, side])
        batches = HeldoutBatches(
            halves[side], corpus.tokenizer, length=FLAGS.length, settings=settings,
            max_batches=FLAGS.probe_batches,
        )  # fmt: skip
        pairs: list[Examples] = []
        tokens: list[Examples] = []
        for number, batch in enumerate(batches):
            key = (2 + side) * _SHUFFLES_HELDOUT + number
            hidden = np.asarray(encode(params, variant.change_batch(batch, seed, key)))
            pairs.append(order_examples(batch, hidden, each, special, draw))
            tokens.append(segment_examples(batch, hidden, each, special, draw))
        sides.append([joined(pairs), joined(tokens)])
    fitted, tested = sides
    return (
        linear_probe(*fitted[0], *tested[0]),
        linear_probe(*fitted[1], *tested[1]),
    )


def split_in_two(documents: Documents) -> tuple[Documents, Documents]:
    """The documents of even and of odd number."""
    return _of_documents(documents, 0), _of_documents(documents, 1)


def _of_documents(documents: Documents, first: int) -> Documents:
    chosen = [documents.document(i) for i in range(first, documents.num_documents, 2)]
    sentences = [sentence for document in chosen for sentence in document]
    if not sentences:
        raise UserError(
            f"got {documents.num_documents} held-out documents; expected two or more for the probes"
        )
    return Documents(
        pieces=np.concatenate(sentences),
        sentence_starts=np.cumsum([0, *map(len, sentences)]).astype(np.int64),
        document_starts=np.cumsum([0, *map(len, chosen)]).astype(np.int64),
    )


def plot_rows(rows: list[dict[str, Any]]) -> str:
    """What `print_rows` prints, as SVG: a row a variant, a red line through the intact one."""
    measures = {
        "MLM loss (nats)": ("mlm_loss", "mlm_interval"),
        "NSP accuracy": ("nsp_accuracy", "nsp_interval"),
        "word-order probe": ("order_accuracy", "order_interval"),
        "sentence-A/B probe": ("segment_accuracy", "segment_interval"),
    }
    of_variants = [
        [row for row in rows if (row["part"], row["way"]) == (variant.part, variant.way)]
        for variant in VARIANTS
    ]
    return draw_intervals(
        "What each part of the input representation buys",
        [variant.name.replace("-", " ") for variant in VARIANTS],
        {name: [_spread(mine, *keys) for mine in of_variants] for name, keys in measures.items()},
    )


def _spread(mine: list[dict[str, Any]], name: str, interval: str) -> Interval:
    """Mean and range of the seeds; of one seed, its figure and its interval."""
    found = [row[name] for row in mine]
    low, high = (min(found), max(found)) if len(found) > 1 else mine[0][interval]
    return low, float(np.mean(found)), high


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print the mean and the range of the seeds of every variant; of one seed, its interval."""
    table = Table(title=f"What each part buys ({FLAGS.workdir})", title_justify="left")
    for column in ("part", "way", "MLM loss", "NSP accuracy", "order probe", "A/B probe", "chance"):
        table.add_column(column)
    for variant in VARIANTS:
        mine = [row for row in rows if (row["part"], row["way"]) == (variant.part, variant.way)]

        def cell(name: str, interval: str, form: str, mine: list[dict[str, Any]] = mine) -> str:
            low, mean, high = _spread(mine, name, interval)
            return f"{mean:{form}} ({low:{form}} to {high:{form}})"

        table.add_row(
            variant.part,
            variant.way,
            cell("mlm_loss", "mlm_interval", ".3f"),
            cell("nsp_accuracy", "nsp_interval", ".1%"),
            cell("order_accuracy", "order_interval", ".1%"),
            cell("segment_accuracy", "segment_interval", ".1%"),
            f"{mine[0]['order_chance']:.1%}, {mine[0]['segment_chance']:.1%}",
        )
    plain_console(width=150).print(table)


if __name__ == "__main__":
    flag_of = {"hidden_size": "width", "num_hidden_layers": "layers"}
    command.run(main, flag_of=flag_of)
