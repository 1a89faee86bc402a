r"""Look into the three embedding tables of any checkpoint, and write what is there as one page.

    python -m experiments.inspect_embeddings --checkpoint=runs/pretrain --workdir=runs/look
    python -m experiments.inspect_embeddings --checkpoint=MODEL --workdir=runs/look \
        --words=cat,running --similarity=WS-353.txt,SimLex-999.txt --sts=sick.tsv \
        --corpus='books/*.txt'

`--checkpoint` is a run of ours or one of its checkpoints, a Hugging Face directory or name, a
Google TensorFlow checkpoint, or tables alone as `edit_embeddings` writes them. In the workdir:

    report.html   one file that opens offline: figures, and a search box for any piece's neighbours
    result.json   the same numbers
    projector/    for TensorBoard's Embedding Projector: tensorboard --logdir=WORKDIR/projector

With a corpus (a run of ours brings its own) there are frequencies and contextual vectors. A run
with several checkpoints gets a timeline. docs/embedding_laboratory.md says what is in the report.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from bert_jax.analysis.inspection.inspect import Questions, inspect_embeddings
from bert_jax.analysis.similarity import read_scored_pairs
from bert_jax.analysis.words import read_word_groups
from bert_jax.cli import command
from bert_jax.cli.compiled_programs import define_compilation_cache
from bert_jax.errors import UserError
from bert_jax.memory import peak_rss_bytes
from bert_jax.mirror import as_given
from bert_jax.training.workdir import own_results, prepared_workdir
from bert_jax.whole_file import write_json, write_text

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "checkpoint", None, "The model or tables to inspect: a path, or a name on the Hugging Face hub."
)
flags.DEFINE_string("workdir", "runs/inspect", "Folder for the report.")
flags.DEFINE_list(
    "words", [], "List the nearest neighbours of these words; by default of a few frequent ones."
)
flags.DEFINE_list("similarity", [], "Files with two words and a similarity score per line.")
flags.DEFINE_list("sts", [], "Files with two sentences and a similarity score per line.")
flags.DEFINE_string("analogies", None, "A file with four words per line: a is to b as c is to d.")
flags.DEFINE_string(
    "outliers", None, "A file with at least three words per line, one of them the odd one out."
)
flags.DEFINE_string(
    "text", None, "Show the input representation of this text; by default of the paper's example."
)
flags.DEFINE_string("pair", None, "A second text, to go with --text.")
flags.DEFINE_string("compare", None, "Another checkpoint to compare with.")
flags.DEFINE_multi_string(
    "corpus",
    [],
    "Text for word frequencies and contexts: python_docs, files, folders, globs, tfds:NAME, or a"
    " folder made by build_corpus. May be repeated.",
)
flags.DEFINE_string("vocab", None, "A vocab.txt, for a checkpoint without one.")
flags.DEFINE_integer("neighbours", 10, "Neighbours per token in the search box.", lower_bound=1)
flags.DEFINE_integer(
    "min_count", 10, "Fewest occurrences of a neighbour in the corpus.", lower_bound=0
)
flags.DEFINE_integer("layer", -1, "Layer whose contextual vectors are scored; -1 is the last.")
flags.DEFINE_integer(
    "occurrences",
    10,
    "Occurrences of a word to average its contextual vectors over.",
    lower_bound=1,
)
flags.DEFINE_bool("projector", True, "Write files for TensorBoard's Embedding Projector.")
define_compilation_cache()

_SETTINGS = (
    "checkpoint", "words", "similarity", "sts", "analogies", "outliers", "text", "pair", "compare",
    "corpus", "vocab", "neighbours", "min_count", "layer", "occurrences", "projector",
)  # fmt: skip


def main() -> None:
    """Read, look, write, and print the main numbers."""
    if not FLAGS.checkpoint:
        raise UserError("got no --checkpoint; expected one, such as --checkpoint=runs/pretrain")
    with own_results(FLAGS.workdir) as folder:
        _look(folder)


def _look(folder: Path) -> None:
    began = time.perf_counter()
    settings = {name: FLAGS[name].value for name in _SETTINGS}
    with prepared_workdir(folder, settings, may_change=_SETTINGS) as workdir:
        asked = Questions(
            words=FLAGS.words,
            similarity=[read_scored_pairs(path) for path in FLAGS.similarity],
            sts=[read_scored_pairs(path) for path in FLAGS.sts],
            analogies=read_word_groups(FLAGS.analogies, 4, 4) if FLAGS.analogies else [],
            outliers=read_word_groups(FLAGS.outliers, 3) if FLAGS.outliers else [],
            text=FLAGS.text,
            pair=FLAGS.pair,
            compare=FLAGS.compare,
            neighbours=FLAGS.neighbours,
            min_count=FLAGS.min_count,
            layer=FLAGS.layer,
            occurrences=FLAGS.occurrences,
        )
        found = inspect_embeddings(FLAGS.checkpoint, asked, vocab=FLAGS.vocab, corpus=FLAGS.corpus)
    write_text(workdir / "report.html", found.page())
    if FLAGS.projector:
        found.write_projector(workdir / "projector")
    result = {
        **found.numbers,
        "report": as_given(workdir / "report.html"),
        "report_bytes": (workdir / "report.html").stat().st_size,
        "seconds": time.perf_counter() - began,
        "peak_rss_bytes": peak_rss_bytes(),
    }
    write_json(workdir / "result.json", result)
    write_json(workdir / "config.json", settings)  # those of the newest report
    command.print_table(f"Inside the embedding tables of {FLAGS.checkpoint}", _shown(result))


def _shown(result: Mapping[str, Any]) -> dict[str, Any]:
    geometry, positions, segments = (result[name] for name in ("geometry", "positions", "segments"))
    rows: dict[str, Any] = {
        "token table": " × ".join(f"{n:,}" for n in result["overview"]["tables"]["token"]),
        "mean cosine of two rows": geometry["mean_cosine"],
        "isotropy": geometry["isotropy"],
        "effective rank": f"{geometry['effective_rank']:.1f}",
    }
    if "input" in result:
        shares = result["input"]["variance_shares"]
        rows["variance of token, segment, position"] = ", ".join(
            f"{v:.1%}" for v in shares.values()
        )
    rows |= {
        "cosine of adjacent positions": positions["adjacent_cosine"],
        **_read_positions(positions["read"]),
        "angle of the segments": f"{segments['angles'][0][1]:.1f}°"
        if len(segments["angles"]) > 1
        else "one segment",
    }
    for word, near in result["neighbours"]["words"].items():
        rows[f"near {word}"] = ", ".join(f"{n['piece']} {n['cosine']:.2f}" for n in near[:5])
    for name, ways in result.get("similarity", {}).items():
        for way, found in ways.items():
            if way != "by_layer":
                rows[f"{name}, {way}"] = _agreement(found)
    for name, ways in result.get("sentences", {}).items():
        for way, layers in ways.items():
            rows[f"{name}, {way}, last layer"] = _agreement(layers[-1])
    if "first_attention" in result:
        heads = result["first_attention"]["heads"]
        looks = [
            f"{place} {count}"
            for place in heads[0]["attention"]
            if (count := sum(h["attention"][place]["because of positions"] for h in heads))
        ]
        rows["look there because of positions"] = (
            f"{', '.join(looks) or 'none'}, of the {len(heads)} heads of layer 1"
        )
    if "comparison" in result:
        kept = result["comparison"]["neighbours_kept"]
        rows[f"neighbours shared with {result['comparison']['with']}"] = f"{kept:.1%}"
    rows |= {
        "seconds": f"{result['seconds']:.0f}",
        "peak memory": f"{result['peak_rss_bytes'] / 2**20:,.0f} MiB",
        "report": f"{result['report']} ({result['report_bytes'] / 2**20:.1f} MiB)",
    }
    return rows


def _read_positions(read: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Errors in reading the place of a row, and which of two comes first; see the report."""
    if not read:
        return {}
    places, orders = (
        ", ".join(f"{name} {found[column]:{form}}" for name, found in read.items())
        for column, form in (("ridge", ".3g"), ("order_unseen", ".1%"))
    )
    return {"error of the position read": places, "wrong orders of two positions": orders}


def _agreement(found: Mapping[str, Any]) -> str:
    if found["rho"] is None:
        return f"no pairs to compare, of {found['of']}"
    return (
        f"ρ {found['rho']:.3f} ({found['low']:.3f} to {found['high']:.3f}),"
        f" {found['pairs']} of {found['of']} pairs"
    )


if __name__ == "__main__":
    command.run(main)
