r"""Pretrain a BERT from raw text: masked LM and next sentence prediction.

    python -m experiments.pretrain        # on the documentation of the installed packages
    python -m experiments.pretrain --workdir=runs/books --corpus='books/*.txt' --model=base

Text becomes a WordPiece vocabulary, then a tokenised corpus, then batches that are a pure function
of (corpus, seed, step). The same command with the same workdir continues where it stopped, bit for
bit, whenever and however it was killed. In the workdir:

    config.json     what was asked for         metrics.jsonl   a line per logged step
    vocab.txt       the vocabulary             heldout.jsonl   a line per evaluation
    corpus/         tokenised documents        tensorboard/    the same, for TensorBoard
    checkpoints/    newest and best            result.json     what came out

With --audit_every, also `audit.jsonl` and `audit.npz`: which rows of the token table the steps
changed, and which of them their batches held (`bert_jax.training.update_audit`).
"""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from absl import flags
from jax.sharding import Mesh

from bert_jax.checkpoints import Checkpoints, load_json
from bert_jax.cli import command
from bert_jax.cli.workdir import prepared_workdir
from bert_jax.config import PRESETS, BertConfig
from bert_jax.data.corpus import Corpus
from bert_jax.data.loader import Batches, HeldoutBatches, Phase, RowSettings
from bert_jax.data.masking import Masking
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute, default_products, scans_layers
from bert_jax.kernels.rematerialisation import REMATERIALISATIONS, rematerialisation
from bert_jax.statistics import unigram_entropy
from bert_jax.text.vocabulary_record import vocabulary_record
from bert_jax.training.assembly import Pretrainer, assemble_pretrainer
from bert_jax.training.attention_choice import ATTENTIONS, with_attention
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.training.loop import EventSchedule
from bert_jax.training.optimizers import OPTIMIZERS, create_optimizer
from bert_jax.training.processes import (
    fail_together,
    first_before_others,
    host_rows,
    is_first,
    join_processes,
)
from bert_jax.training.schedules import warmup_polynomial
from bert_jax.training.sharding import create_mesh, parse_mesh
from bert_jax.whole_file import write_json

from .corpus_preparation import prepare_corpus
from .given_tables import GivenTables, chosen_parts, given_tables
from .neighbour_table import print_neighbours
from .pretrain_loop import Aside, train_to_the_end

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", "runs/pretrain", "Holds everything the run makes.")
flags.DEFINE_multi_string(
    "corpus",
    ["python_docs"],
    "Text: python_docs, files, folders, globs, tfds:NAME, or a folder made by build_corpus. May be"
    " repeated.",
)
flags.DEFINE_string("vocab", None, "A vocab.txt; by default a vocabulary is learned.")
flags.DEFINE_integer("vocab_size", 8192, "Pieces of a learned vocabulary.", lower_bound=1)
flags.DEFINE_bool("lowercase", True, "Whether the vocabulary is uncased.")
flags.DEFINE_float("heldout_fraction", 0.05, "Share of the documents to measure with.")
flags.DEFINE_string(
    "init_embeddings",
    None,
    "Embedding tables to start from: a checkpoint or workdir, a Hugging Face directory, a Google"
    " checkpoint, a .npz or .safetensors. Without --vocab the run takes their vocabulary.",
)
flags.DEFINE_list(
    "init_parts", None, "Which of token,segment,position are taken from there; by default all."
)
flags.DEFINE_list(
    "freeze", None, "Which of token,segment,position stay as they are; by default none."
)
flags.DEFINE_string("model", "tiny", "tiny, mini, small, medium, base, large, or a config.json.")
flags.DEFINE_bool("untied", False, "Give the masked-LM head a table of its own.")
flags.DEFINE_integer("steps", 450, "Updates in the whole run.", lower_bound=1)
flags.DEFINE_integer("batch_size", 64, "Rows of the global batch.", lower_bound=1)
flags.DEFINE_string("phases", "128:1.0", "length:share of the steps, as in 128:0.9,512:0.1.")
flags.DEFINE_integer("pack", 1, "Most instances packed into a row.", lower_bound=1)
flags.DEFINE_enum("masking", "token", ["token", "whole_word"], "What is masked.")
flags.DEFINE_enum("optimizer", "adamw", list(OPTIMIZERS), "How gradients become updates.")
flags.DEFINE_float("learning_rate", 2e-3, "The highest rate.", lower_bound=0.0)
flags.DEFINE_float("warmup", 0.1, "Steps that warm up; below 1, their share.", lower_bound=0.0)
flags.DEFINE_float("decay_power", 1.0, "1 decays linearly.", lower_bound=0.0)
flags.DEFINE_float("weight_decay", 0.01, "Of matrices and tables.", lower_bound=0.0)
flags.DEFINE_float("clip_norm", 1.0, "Largest gradient norm; 0 clips nothing.", lower_bound=0.0)
flags.DEFINE_integer("accumulate", 1, "Microbatches a step.", lower_bound=1)
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "What the model computes in.")
flags.DEFINE_bool("scan_layers", None, "Loop over layers: compiles faster. By default on TPUs.")
flags.DEFINE_enum(
    "attention", "auto", list(ATTENTIONS),
    "einsum; fused: cuDNN's kernel on NVIDIA GPUs; splash: a Pallas kernel on a TPU. The kernels"
    " drop no attention weights. auto: a kernel where none are dropped and it pays.",
)  # fmt: skip
flags.DEFINE_float("attention_dropout", None, "Instead of the model's, of weights.", 0.0, 0.9)
flags.DEFINE_enum(
    "remat", "none", list(REMATERIALISATIONS), "What the backward pass computes again."
)
flags.DEFINE_integer("seed", 0, "Of everything random.", lower_bound=0)
flags.DEFINE_string("mesh", "", "As in data:4,fsdp:2; by default all devices on data.")
flags.DEFINE_string("coordinator", None, "Of a run of several processes: host:port of number 0.")
flags.DEFINE_integer("processes", None, "How many processes there are.", lower_bound=1)
flags.DEFINE_integer("process_id", None, "Which one this is, from 0.", lower_bound=0)
flags.DEFINE_bool("distributed", False, "Take the three from the platform: Cloud TPU, GKE, Slurm.")
flags.DEFINE_integer("log_every", 10, "Steps between lines of metrics.", lower_bound=1)
flags.DEFINE_integer("eval_every", 150, "Steps between evaluations; 0: at the end.", lower_bound=0)
flags.DEFINE_integer("eval_batches", 32, "Held-out batches an evaluation reads.", lower_bound=1)
flags.DEFINE_integer("checkpoint_every", 150, "Steps; 0: at the end.", lower_bound=0)
flags.DEFINE_integer("keep", 3, "Newest checkpoints kept, beside the best.", lower_bound=1)
flags.DEFINE_integer("loader_workers", 0, "Processes that make batches; 0: a thread.", 0)
flags.DEFINE_integer(
    "audit_every", 0, "Observe what each step does to the token rows, and write it down every so"
    " many steps; 0: do not.", lower_bound=0,
)  # fmt: skip
flags.DEFINE_bool("profile", False, "Trace a few steps into workdir/profile.")
flags.DEFINE_list(
    "words", [], "Their neighbours are printed; by default those of a few frequent words."
)

# What the run computes does not depend on these: they may differ when it is continued.
_MAY_CHANGE = (
    "log_every", "eval_every", "eval_batches", "checkpoint_every", "keep",
    "loader_workers", "profile", "words", "mesh", "scan_layers", "remat", "attention",
)  # fmt: skip
_SETTINGS = (
    "corpus", "vocab", "vocab_size", "lowercase", "heldout_fraction", "model", "untied",
    "steps", "batch_size", "phases", "pack", "masking", "optimizer", "learning_rate", "warmup",
    "decay_power", "weight_decay", "clip_norm", "accumulate", "dtype", "seed", "init_embeddings",
    "audit_every", "attention_dropout", *_MAY_CHANGE,
)  # fmt: skip


def main() -> None:
    """Prepare the corpus, train, and say what came out."""
    join_processes(FLAGS.coordinator, FLAGS.processes, FLAGS.process_id, found=FLAGS.distributed)
    with fail_together():
        _run()


def _run() -> None:
    began = time.perf_counter()
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    settings = {name: FLAGS[name].value for name in _SETTINGS}
    frozen = chosen_parts("freeze", FLAGS.freeze)
    if not 0 < FLAGS.heldout_fraction < 1:
        raise UserError(
            f"got --heldout_fraction={FLAGS.heldout_fraction}; expected a share above 0 and below"
            " 1, since the run is measured on held-out documents"
        )
    if FLAGS.audit_every and jax.process_count() > 1:
        raise UserError(
            f"got --audit_every={FLAGS.audit_every} in a run of {jax.process_count()} processes;"
            " expected one, which sees the whole token table"
        )
    phases = _phases(FLAGS.phases)
    mesh = create_mesh(parse_mesh(FLAGS.mesh))
    _model_config(FLAGS.model, FLAGS.vocab_size, phases)  # a typo is said before anything is made
    given = _given_tables(phases)
    settings["init_parts"] = ",".join(given.parts) if FLAGS.init_embeddings else None
    settings["freeze"] = ",".join(frozen) or None
    with (
        first_before_others("prepared corpus") as prepared,
        prepared_workdir(FLAGS.workdir, settings, _MAY_CHANGE) as workdir,
    ):
        corpus = prepare_corpus(
            FLAGS.corpus,
            vocab=FLAGS.vocab,
            vocab_size=FLAGS.vocab_size,
            lowercase=FLAGS.lowercase,
            heldout_fraction=FLAGS.heldout_fraction,
            workdir=workdir,
            tokenizer=given.tokenizer,
        )
        config = _model_config(FLAGS.model, corpus.tokenizer.vocab_size, phases)
        run = _pretrainer(config, mesh, corpus.tokenizer.mask_id, given, frozen)
        batches, heldout = _batches(corpus, phases, mesh)
        prepared()
        checkpoints = Checkpoints(
            workdir / "checkpoints",
            keep=FLAGS.keep,
            config=config.to_dict(),
            vocabulary=_vocabulary(corpus),
        )
        _check_continues(checkpoints, config, corpus)
    schedule = EventSchedule(FLAGS.steps, FLAGS.log_every, FLAGS.eval_every, FLAGS.checkpoint_every)
    aside = Aside(FLAGS.audit_every, FLAGS.loader_workers, FLAGS.profile)
    outcome = train_to_the_end(run, checkpoints, batches, heldout, workdir, schedule, aside)
    if outcome is None or not is_first():  # None: asked to stop; the same command continues
        return
    result = {
        **outcome,
        "seconds": time.perf_counter() - began,
        "peak_rss_bytes": command.peak_rss_bytes(),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(run.saved_state.params)),
        "heldout_unigram_entropy": unigram_entropy(corpus.heldout.pieces),
        "corpus_fingerprint": corpus.fingerprint,
        "vocabulary_hash": corpus.vocab_hash,
    }
    write_json(workdir / "result.json", result)
    command.print_table(f"Pretraining in {workdir}", _shown(result))
    print_neighbours(Path(result["checkpoint"]), corpus, FLAGS.words)


def _batches(corpus: Corpus, phases: list[Phase], mesh: Mesh) -> tuple[Batches, HeldoutBatches]:
    masking = Masking(whole_word=FLAGS.masking == "whole_word")
    rows = RowSettings(FLAGS.batch_size, max_instances=FLAGS.pack, masking=masking)
    mine = host_rows(FLAGS.batch_size, mesh)
    batches = Batches(
        corpus.train, corpus.tokenizer, seed=FLAGS.seed, steps=FLAGS.steps, phases=phases,
        settings=rows, host_rows=mine,
    )  # fmt: skip
    batches.steps_per_epoch(0)  # plans: a corpus that cannot be planned is said now
    heldout = HeldoutBatches(
        corpus.heldout, corpus.tokenizer, length=phases[-1].length, settings=rows,
        max_batches=FLAGS.eval_batches, host_rows=mine,
    )  # fmt: skip
    return batches, heldout


def _given_tables(phases: list[Phase]) -> GivenTables:
    return given_tables(
        FLAGS.init_embeddings,
        FLAGS.init_parts,
        workdir=FLAGS.workdir,
        corpus=FLAGS.corpus,
        vocab=FLAGS.vocab,
        lowercase=FLAGS.lowercase if FLAGS["lowercase"].present else None,
        config_of=lambda size: _model_config(FLAGS.model, size or FLAGS.vocab_size, phases),
    )


def _pretrainer(
    config: BertConfig, mesh: Mesh, mask_id: int, given: GivenTables, frozen: tuple[str, ...]
) -> Pretrainer:
    rate = warmup_polynomial(FLAGS.learning_rate, FLAGS.steps, _warmup_steps(), FLAGS.decay_power)
    return assemble_pretrainer(
        config,
        mesh,
        create_optimizer(FLAGS.optimizer, rate, FLAGS.weight_decay, FLAGS.clip_norm),
        rate,
        seed=FLAGS.seed,
        batch_size=FLAGS.batch_size,
        compute=Compute(
            dtype=FLAGS.dtype,
            scan_layers=_scan_layers(),
            rematerialise=rematerialisation(FLAGS.remat),
            products=with_attention(
                default_products(), FLAGS.attention, config, mesh, jax.default_backend()
            ),
        ),
        accumulate=FLAGS.accumulate,
        frozen=[f"bert/embeddings/{part}" for part in frozen],
        start=given.start,
        row_lazy=FLAGS.optimizer == "row_lazy_adamw",
        audit_mask_id=mask_id if FLAGS.audit_every else None,
    )


def _phases(text: str) -> list[Phase]:
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return [Phase(int(length), float(share)) for length, share in pairs]
    except ValueError:
        raise UserError(
            f"got --phases={text}; expected length:share pairs, as in 128:0.9,512:0.1"
        ) from None


def _model_config(name: str, vocab_size: int, phases: list[Phase]) -> BertConfig:
    if name in PRESETS:
        config = getattr(BertConfig, name)(vocab_size=vocab_size)
    elif name.endswith(".json"):
        config = BertConfig.from_json(name)
        config = dataclasses.replace(config, vocab_size=vocab_size)
    else:
        raise UserError(
            f"got --model={name}; expected a config.json or one of {', '.join(PRESETS)}"
        )
    if FLAGS.untied:
        config = config.replace(tie_word_embeddings=False)
    if FLAGS.attention_dropout is not None:
        config = config.replace(attention_probs_dropout_prob=FLAGS.attention_dropout)
    longest = max(phase.length for phase in phases)
    if longest > config.max_position_embeddings:
        raise UserError(
            f"got --phases={FLAGS.phases}, rows of {longest} tokens; expected at most the model's"
            f" {config.max_position_embeddings} positions"
        )
    return config


def _warmup_steps() -> int:
    return round(FLAGS.warmup * FLAGS.steps) if FLAGS.warmup < 1 else round(FLAGS.warmup)


def _scan_layers() -> bool:
    given: bool | None = FLAGS.scan_layers
    return scans_layers(jax.default_backend()) if given is None else given


def _check_continues(checkpoints: Checkpoints, config: BertConfig, corpus: Corpus) -> None:
    """Refuse to go on with another model or corpus than the checkpoint's: the flags name only
    files, and files change.
    """
    step = checkpoints.latest_step()
    if step is None:
        return
    path = checkpoints.path(step)
    if load_json(path, "config") != config.to_dict():
        raise UserError(
            f"got --model={FLAGS.model}, whose sizes are no longer those of {path}; expected the"
            " same model, or another --workdir"
        )
    if load_json(path, "vocabulary").get("corpus_fingerprint") != corpus.fingerprint:
        raise UserError(
            f"got --corpus={','.join(FLAGS.corpus)}, whose content is no longer that of {path};"
            " expected the same corpus, or another --workdir"
        )


def _vocabulary(corpus: Corpus) -> dict[str, Any]:
    return {"corpus_fingerprint": corpus.fingerprint, **vocabulary_record(corpus.tokenizer)}


def _shown(result: Mapping[str, Any]) -> dict[str, Any]:
    low, high = result["heldout_nsp_interval"]
    speed = result["tokens_per_second"]
    return {
        "steps": result["steps"],
        "seconds": f"{result['seconds']:.0f}",
        "tokens a second": "-" if speed is None else f"{speed:,.0f}",
        "peak memory": f"{result['peak_rss_bytes'] / 2**20:,.0f} MiB",
        "held-out MLM loss": f"{result['heldout_mlm_loss']:.3f} nats",
        "  a unigram model at best": f"{result['heldout_unigram_entropy']:.3f} nats",
        "held-out MLM accuracy": f"{result['heldout_mlm_accuracy']:.1%}",
        "held-out NSP accuracy": f"{result['heldout_nsp_accuracy']:.1%}"
        f" (95 % interval {low:.1%} to {high:.1%})",
        "checkpoint": result["checkpoint"],
    }


if __name__ == "__main__":
    command.run(main)
