r"""How large a vocabulary, if "all rows are to be updated often enough"?

    python -m experiments.vocabulary_study --workdir=runs/vocabulary_study

Learns vocabularies of several sizes from one text, and pretrains one small model with each, on the
same text with the same compute: `--teraflops` of matrix products, so that a larger vocabulary,
whose decoder costs more, gets fewer steps. Prints a row a vocabulary:

    steps            updates within the compute
    updates          median row, 5th percentile, and share of the rows that never had one: steps
                     whose batch held the row as input. (A tied decoder, which this is, changes the
                     values of all rows at every step; `experiments.audit_updates`.)
    fertility        pieces a word of the held-out text; and characters a piece
    bits             held-out bits a character of the masked model, with the 95 % interval of this
                     sample of batches: of whole words hidden behind [MASK], and divided by their
                     characters, so that vocabularies can be compared; beside it, what the
                     best model would reach that ignores the context

Whole words are masked in training too; else a small vocabulary would be given parts of most words.
Writes the rows to `result.json` and draws them as `vocabulary_study.svg`. A run that is finished is
not repeated; `--sizes` may change. On 63 MB of books and the like, --teraflops=20 took 29 min of
one core; docs/updates_and_vocabulary.md has what came out.
"""

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from rich.table import Table

from bert_jax.analysis.flops import RowShape, training_flops
from bert_jax.analysis.vocabulary import piece_characters, vocabulary_fit
from bert_jax.arguments import MOST_SEED
from bert_jax.cli import command
from bert_jax.cli.compiled_programs import define_compilation_cache
from bert_jax.config import BertConfig
from bert_jax.console import plain_console
from bert_jax.data.corpus import Corpus, is_corpus
from bert_jax.data.loader import Batches, HeldoutBatches, Phase, RowSettings
from bert_jax.data.masking import Masking
from bert_jax.data.preparation import prepare_corpus, texts_of
from bert_jax.data.sources import open_source
from bert_jax.errors import UserError
from bert_jax.figures import Lines, draw_lines
from bert_jax.file_digests import read_sealed, write_sealed
from bert_jax.memory import check_sizes
from bert_jax.progress import ProgressBar
from bert_jax.statistics import ratio_interval
from bert_jax.text.word_counts import WordSettings, count_words
from bert_jax.text.wordpiece_learner import learn_vocabulary
from bert_jax.training.assembly import Pretrainer, assemble_pretrainer
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.training.optimizers import create_optimizer
from bert_jax.training.schedules import warmup_polynomial
from bert_jax.training.sharding import create_mesh, put_batch
from bert_jax.training.update_audit import INPUT, updates_per_row
from bert_jax.training.workdir import Workdir, check_contents, own_workdir, prepared_workdir
from bert_jax.whole_file import write_json, write_text

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "workdir", "runs/vocabulary_study", "Folder for everything the experiment writes."
)
flags.DEFINE_multi_string(
    "corpus", ["python_docs"], "Text to train on, as for experiments.pretrain."
)
flags.DEFINE_list(
    "sizes", ["2048", "4096", "8192", "16384", "32768"], "Vocabulary sizes to compare, in tokens."
)
flags.DEFINE_float(
    "teraflops", 15.0, "Compute per run, in 10^12 floating-point operations of matrix products.",
    lower_bound=0.0,
)  # fmt: skip
flags.DEFINE_integer("layers", 2, "Number of layers.", lower_bound=1)
flags.DEFINE_integer("width", 256, "Width of the model, a multiple of 64.", lower_bound=64)
flags.DEFINE_integer("batch_size", 32, "Batch size, in rows.", lower_bound=1)
flags.DEFINE_integer("length", 64, "Tokens per row.", lower_bound=16)
flags.DEFINE_float("learning_rate", 1e-3, "Peak learning rate.", lower_bound=0.0)
flags.DEFINE_integer("eval_batches", 64, "Held-out batches.", lower_bound=2)
flags.DEFINE_integer(
    "seed", 0, "Random seed: initial weights, order of the data, masking and dropout.", 0, MOST_SEED
)
define_compilation_cache()
_MAY_CHANGE = ("sizes",)
_SETTINGS = (
    "corpus", "teraflops", "layers", "width", "batch_size", "length", "learning_rate",
    "eval_batches", "seed", *_MAY_CHANGE,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Study:
    """One vocabulary's part: the text in its pieces, and how many steps it gets."""

    corpus: Corpus
    config: BertConfig
    steps: int
    folder: Path


def main() -> None:
    """Do the runs that are not done yet, then show all."""
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    sizes = command.whole_numbers("sizes", FLAGS.sizes, least=1)
    if FLAGS.width % 64:
        raise UserError(f"got --width={FLAGS.width}; expected a multiple of 64, the head width")
    check_sizes(_config(max(sizes)), FLAGS.batch_size, FLAGS.length)
    with own_workdir(FLAGS.workdir) as place:
        compare_sizes(sizes, place)


def compare_sizes(sizes: list[int], place: Workdir) -> None:
    """Do so in a working directory of this process, which is sent after each run."""
    settings = {name: FLAGS[name].value for name in _SETTINGS}
    with prepared_workdir(place.folder, settings, _MAY_CHANGE) as workdir:
        studies = list(prepare(sizes, workdir))
    rows, done = [], 0
    with ProgressBar("training", sum(study.steps for study in studies)) as bar:
        for study in studies:
            result = study.folder / "result.json"
            if not result.exists():
                write_sealed(result, run(study, bar))
                place.publish()
            rows.append(read_sealed(result, "remove it, and its run is done again"))
            done += study.steps
            bar.update(done, f"{study.config.vocab_size:,} pieces")
    write_json(workdir / "result.json", {"settings": settings, "rows": rows})
    write_text(workdir / "vocabulary_study.svg", plot(rows))
    print_rows(rows)


def _config(vocab_size: int) -> BertConfig:
    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=FLAGS.width,
        num_hidden_layers=FLAGS.layers,
        num_attention_heads=FLAGS.width // 64,
        intermediate_size=4 * FLAGS.width,
        max_position_embeddings=FLAGS.length,
    )


def prepare(sizes: list[int], workdir: Path) -> Iterator[Study]:
    """Learn every vocabulary, tokenise the text with it, and see how many steps it is given.

    Raises:
        UserError: text that cannot be read or is too small, or compute for less than one step.
    """
    if any(is_corpus(name) for name in FLAGS.corpus):
        raise UserError(
            f"got --corpus={','.join(FLAGS.corpus)}, which is tokenised already; expected text, to"
            " learn vocabularies from"
        )
    source = open_source(FLAGS.corpus)
    check_contents(workdir, {"corpus": {"files": source.identity}})
    missing = [size for size in sizes if not (workdir / str(size) / "vocab.txt").exists()]
    if missing:
        with ProgressBar("counting words", source.total_bytes) as bar:
            counts = count_words(texts_of(source, bar), WordSettings(lowercase=True))
        with ProgressBar("learning pieces", sum(missing)) as bar:
            for number, size in enumerate(missing):
                before = sum(missing[:number])

                def progress(done: int, _: int, before: int = before) -> None:
                    bar.update(before + done)

                learned = learn_vocabulary(counts, size, progress=progress)
                (workdir / str(size)).mkdir(exist_ok=True)
                learned.save(workdir / str(size) / "vocab.txt")
    for size in sizes:
        folder = workdir / str(size)
        corpus = prepare_corpus(
            FLAGS.corpus, vocab=str(folder / "vocab.txt"), vocab_size=size, lowercase=True,
            heldout_fraction=0.05, workdir=folder,
        )  # fmt: skip
        config = _config(corpus.tokenizer.vocab_size)
        predictions = _rows().masking.predictions(FLAGS.length)
        a_step = FLAGS.batch_size * training_flops(config, RowShape(FLAGS.length, predictions))
        steps = round(FLAGS.teraflops * 1e12 / a_step)
        if steps < 1:
            raise UserError(
                f"got --teraflops={FLAGS.teraflops:g}; expected at least {a_step / 1e12:.2g}, one"
                f" step with {config.vocab_size} pieces"
            )
        study = Study(corpus, config, steps, folder)
        _batches(study).steps_per_epoch(0)  # a corpus that cannot be planned is said now
        _heldout(study)
        yield study


def run(study: Study, bar: ProgressBar) -> dict[str, Any]:
    """Pretrain with one vocabulary; the row of the table."""
    tokenizer, rate = study.corpus.tokenizer, FLAGS.learning_rate
    schedule = warmup_polynomial(rate, study.steps, study.steps // 10)
    trainer = assemble_pretrainer(
        study.config,
        create_mesh({"data": 1}, jax.devices()[:1]),
        create_optimizer("adamw", schedule),
        schedule,
        seed=FLAGS.seed,
        batch_size=FLAGS.batch_size,
        audit_mask_id=tokenizer.mask_id,
    )
    state, tokens, began = trainer.initial_state(), 0, time.perf_counter()
    for step, batch in enumerate(_batches(study), 1):
        state, _ = trainer.train_step(state, put_batch(batch, trainer.mesh))
        tokens += int((batch["instance_ids"] > 0).sum())
        if step % 10 == 0:
            bar.advance(10)
    spent = np.asarray(state.opt_state.audit.spent)  # waits for the last step
    seconds = time.perf_counter() - began
    ordinary = np.ones(len(spent[INPUT]), bool)
    ordinary[list(tokenizer.special_ids)] = False
    updates = updates_per_row(spent[INPUT][ordinary])
    fit = vocabulary_fit(tokenizer, study.corpus.heldout.pieces)
    return {
        "vocab_size": study.config.vocab_size,
        "steps": study.steps,
        "seconds": seconds,
        "characters_read": tokens * fit.characters_per_piece,
        "updates_median": updates.median,
        "updates_5th_percentile": updates.fifth_percentile,
        "never_updated": updates.never,
        **dataclasses.asdict(fit),
        **heldout_bits(study, trainer, state.params),
    }


def heldout_bits(study: Study, trainer: Pretrainer, params: Any) -> dict[str, Any]:
    """Bits that the words behind [MASK] cost on held-out text, a character of theirs."""
    characters_of = piece_characters(study.corpus.tokenizer)
    bits, characters, hits, count = [], [], 0.0, 0.0
    for batch in _heldout(study):
        sums = jax.device_get(trainer.eval_step(params, put_batch(batch, trainer.mesh)))
        bits.append(float(sums["mlm_nats"]) / math.log(2))
        hidden = characters_of[batch["masked_labels"]] * batch["masked_weights"]
        characters.append(float(hidden.sum()))
        hits, count = hits + float(sums["mlm_hits"]), count + float(sums["mlm_count"])
    ratio, interval = ratio_interval(np.array(bits), np.array(characters))
    return {
        "bits_per_character": ratio,
        "bits_interval": interval,
        "mlm_loss": sum(bits) * math.log(2) / count,
        "mlm_accuracy": hits / count,
    }


def _batches(study: Study) -> Batches:
    return Batches(
        study.corpus.train, study.corpus.tokenizer, seed=FLAGS.seed, steps=study.steps,
        phases=[Phase(FLAGS.length, 1.0)], settings=_rows(),
    )  # fmt: skip


def _heldout(study: Study) -> HeldoutBatches:
    return HeldoutBatches(
        study.corpus.heldout, study.corpus.tokenizer, length=FLAGS.length,
        settings=_rows(mask_fraction=1.0, random_fraction=0.0),
        max_batches=FLAGS.eval_batches,
    )  # fmt: skip


def _rows(mask_fraction: float = 0.8, random_fraction: float = 0.1) -> RowSettings:
    masking = Masking(mask_fraction=mask_fraction, random_fraction=random_fraction, whole_word=True)
    return RowSettings(FLAGS.batch_size, masking=masking)


def plot(rows: list[dict[str, Any]]) -> str:
    """Bits a character above, updates a row below, both against the size of the vocabulary."""

    def line(name: str) -> list[tuple[float, float]]:
        return [(row["vocab_size"], row[name]) for row in rows]

    bits = {
        "masked model": line("bits_per_character"),
        "without context, at best": line("unigram_bits_per_character"),
    }
    updates = {
        "median row": line("updates_median"),
        "5th percentile": line("updates_5th_percentile"),
        "steps": line("steps"),
    }
    x_label = "pieces of the vocabulary"
    return draw_lines(
        Lines(bits, "Held-out text, same compute", x_label, "bits a character", log_x=True),
        Lines(updates, "Updates of a row", x_label, "steps that held it", log_x=True, log_y=True),
    )


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(title="How large a vocabulary, for the same compute", title_justify="left")
    for column in (
        "pieces", "steps", "updates: median", "5th percentile", "never", "fertility",
        "characters a piece", "bits a character", "without context", "seconds",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for row in rows:
        low, high = row["bits_interval"]
        table.add_row(
            f"{row['vocab_size']:,}",
            f"{row['steps']:,}",
            f"{row['updates_median']:,.0f}",
            f"{row['updates_5th_percentile']:,.0f}",
            f"{row['never_updated']:.1%}",
            f"{row['fertility']:.2f}",
            f"{row['characters_per_piece']:.2f}",
            f"{row['bits_per_character']:.3f} ({low:.3f} to {high:.3f})",
            f"{row['unigram_bits_per_character']:.3f}",
            f"{row['seconds']:.0f}",
        )
    plain_console(width=150).print(table)


if __name__ == "__main__":
    flag_of = {"hidden_size": "width", "num_hidden_layers": "layers"}
    command.run(main, flag_of=flag_of)
