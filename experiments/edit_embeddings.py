r"""Read embedding tables from any checkpoint, edit them, and write them in another form.

    python -m experiments.edit_embeddings --input=bert-base-uncased --output=base.vec
    python -m experiments.edit_embeddings --input=runs/books --output=moved.npz --vocab=new.txt
    python -m experiments.edit_embeddings --input=runs/books --output=longer --positions=1024

`--input` is a checkpoint or workdir of ours, a Hugging Face directory or its name on the hub, a
Google checkpoint, or tables that were written here. Of a whole model only the tables are read. The
suffix of `--output` says what is written:

    .npz .safetensors   the tables and their vocabulary in one file
    .orbax              the same as a folder, with the items of our checkpoints
    .vec                the token table in word2vec's text format, which gensim opens
    .txt                the vocabulary alone
    no suffix           the whole edited model, its MLM bias and decoder too, as --format says; with
                        a model card in Hugging Face's form

Pieces of `--vocab` that the old vocabulary has keep their rows; a new one gets the row that those
of the pieces spelled most like it make likely, and with `--text` those that are used like it too;
or (`--rows=mean`) the mean of the rows of the pieces that spelled it. `--token_rows=FILE` puts word
vectors in: a `.vec` as it is written here, or GloVe's. `OUTPUT.json` says what became of every
piece. docs/embedding_tables.md has what this is worth, measured.
"""

import dataclasses
from pathlib import Path
from typing import Any, cast

from absl import flags

from bert_jax.arguments import MOST_SEED
from bert_jax.cli import command
from bert_jax.cli.compiled_programs import define_compilation_cache
from bert_jax.cli.outputs import check_new, define_overwrite, overwrites
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.google_tf import save_google
from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.model_card import model_card
from bert_jax.convert.ours import save_ours
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.data.sources import open_source
from bert_jax.errors import UserError
from bert_jax.tables.context_vectors import context_vectors
from bert_jax.tables.editing import Edit
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.tables.row_rules import RowRule, SpelledMean, SpellingRegression
from bert_jax.tables.row_surgery import PositionRule
from bert_jax.tables.storage import load_tables, save_tables, table_format
from bert_jax.tables.vocabulary_surgery import (
    Fallback,
    NewRows,
    VocabularyReport,
    length_weights,
    with_added_pieces,
    with_size,
)
from bert_jax.tables.word2vec import Word2vec, read_word2vec
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.whole_file import write_json

_INPUT = flags.DEFINE_string(
    "input", None, "Where to read the tables: a model or a file of tables."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "File or folder to write; its suffix chooses the form."
)
define_overwrite()
define_compilation_cache()
_INPUT_VOCAB = flags.DEFINE_string(
    "input_vocab", None, "The vocab.txt of tables that come without one."
)
_VOCAB = flags.DEFINE_string("vocab", None, "The vocab.txt to move to.")
_LOWERCASE = flags.DEFINE_bool(
    "lowercase", None, "Whether --vocab and --input_vocab are lowercase; by default as the input."
)
_ADD_TOKENS = flags.DEFINE_list("add_tokens", [], "Tokens to add, as in covid,##ine,[ENT].")
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size",
    None,
    "Rows the token table should have: cut off at the end, or filled up with [unused…].",
    1,
)
_ROWS = flags.DEFINE_enum(
    "rows",
    None,
    ["learned", "mean"],
    "Row of a new token: learned from tokens spelled alike, or the mean of the tokens it was"
    " split into; by default learned, or mean with --weights.",
)
_TEXT = flags.DEFINE_list(
    "text", [], "Files or folders of text, as for build_corpus, to learn new rows from as well."
)
_TOKEN_ROWS = flags.DEFINE_string(
    "token_rows",
    None,
    "Word vectors in word2vec's text format or GloVe's: tokens found there get their rows.",
)
_WEIGHTS = flags.DEFINE_enum(
    "weights", None, ["equal", "length"], "Weights of the mean for --rows=mean; by default equal."
)
_FALLBACK = flags.DEFINE_enum(
    "fallback",
    "mean",
    ["mean", "draw"],
    "Row of a token that cannot be split into known ones: the mean of the table, or a random draw.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Random seed of --fallback=draw.", 0, MOST_SEED)
_POSITIONS = flags.DEFINE_integer("positions", None, "Rows of the position table.", lower_bound=1)
_POSITION_RULE = flags.DEFINE_enum(
    "position_rule", "copy", ["copy", "interpolate"], "How the position table gets longer."
)
_SEGMENTS = flags.DEFINE_integer("segments", None, "Rows of the segment table.", lower_bound=1)
_COPY_SEGMENT = flags.DEFINE_integer(
    "copy_segment",
    None,
    "Segment that new segments are copied from; by default the mean of all.",
    0,
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "huggingface",
    ["huggingface", "google", "ours"],
    "Format of a whole model, when --output has no suffix.",
)

_SAVERS = {"huggingface": save_huggingface, "google": save_google, "ours": save_ours}


def main() -> None:
    """Read, edit, write, and print what became of the tables."""
    source, output = _INPUT.value, _OUTPUT.value
    if not source or not output:
        raise UserError("got no --input or no --output; expected both")
    check_new("output", output, f"{output}.json")
    if not Path(output).suffix:
        shown, record = _edit_model(source, output)
    else:
        table_format(output)  # a name we cannot write is said before anything is read
        shown, record = _edit_tables(source, output)
    command.print_table(output, shown)
    write_json(f"{output}.json", record)


def _edit_tables(source: str, output: str) -> tuple[dict[str, str], dict[str, Any]]:
    before = load_tables(source)
    before = before.replace(tokenizer=_tokenizer(before.tokenizer))
    edit = _edit(before.tokenizer)
    after, report = edit.of_tables(before)
    save_tables(after, output)
    return _said(before, after, report, edit.words)


def _edit_model(source: str, output: str) -> tuple[dict[str, str], dict[str, Any]]:
    before = load_pretrained(source)
    before = dataclasses.replace(before, tokenizer=_tokenizer(before.tokenizer))
    edit = _edit(before.tokenizer)
    after, report = edit.of_model(before)
    card = model_card(after, Path(output).name, command.command_line())
    after = dataclasses.replace(after, card=card)
    notes = (*before.notes, *_SAVERS[str(_FORMAT.value)](after, output, overwrite=overwrites()))
    shown, record = _said(_tables_of(before), _tables_of(after), report, edit.words)
    return {**shown, **{f"note {i}": note for i, note in enumerate(notes, 1)}}, record


def _edit(old: Tokenizer | None) -> Edit:
    new = _new_vocabulary(old)
    return Edit(
        new,
        _new_rows(old, new),
        _POSITIONS.value,
        cast(PositionRule, _POSITION_RULE.value),
        _SEGMENTS.value,
        _COPY_SEGMENT.value,
        read_word2vec(_TOKEN_ROWS.value) if _TOKEN_ROWS.value else None,
    )


def _tables_of(model: Pretrained) -> EmbeddingTables:
    return EmbeddingTables.from_params(model.params["bert"]["embeddings"], model.tokenizer)


def _tokenizer(own: Tokenizer | None) -> Tokenizer | None:
    """The vocabulary of the input: its own, or the one it is given."""
    if _INPUT_VOCAB.value is None:
        return own
    if own is not None:
        raise UserError(
            f"got --input_vocab={_INPUT_VOCAB.value} for {_INPUT.value}, which has a vocabulary;"
            " expected --vocab, to move it to another one"
        )
    return Tokenizer.from_file(_INPUT_VOCAB.value, _LOWERCASE.value)


def _new_vocabulary(old: Tokenizer | None) -> Tokenizer | None:
    """The vocabulary to move to; None to stay."""
    new = old
    if _VOCAB.value is not None:
        new = Tokenizer.from_file(_VOCAB.value, _LOWERCASE.value, like=old)
    if _ADD_TOKENS.value or _VOCAB_SIZE.value is not None:
        if new is None:
            raise UserError(
                f"got {_INPUT.value}, tables without a vocabulary; expected --input_vocab, theirs"
            )
        new = with_added_pieces(new, _ADD_TOKENS.value or [])
        if _VOCAB_SIZE.value is not None:
            new = with_size(new, _VOCAB_SIZE.value)
    return None if new is old else new


def _new_rows(old: Tokenizer | None, new: Tokenizer | None) -> NewRows:
    return NewRows(_rule(old, new), cast(Fallback, _FALLBACK.value), _SEED.value or 0)


def _rule(old: Tokenizer | None, new: Tokenizer | None) -> RowRule:
    wish = _ROWS.value or ("mean" if _WEIGHTS.value else "learned")
    if wish == "learned" and _WEIGHTS.value:
        raise UserError(
            f"got --weights={_WEIGHTS.value} with --rows=learned; expected --rows=mean, which"
            " they weigh, or no --weights"
        )
    if _TEXT.value and (wish == "mean" or new is None):
        beside = "--rows=mean" if wish == "mean" else "the vocabulary as it was"
        raise UserError(
            f"got --text with {beside}; expected new pieces with --rows=learned, which it is for"
        )
    if wish == "mean":
        if _WEIGHTS.value == "length" and old is not None:
            return SpelledMean(length_weights(old))
        return SpelledMean()
    if not _TEXT.value or new is None:
        return SpellingRegression()
    texts = (document.whole_text for document in open_source(_TEXT.value))
    return SpellingRegression(context_vectors(new, map(new.piece_ids, texts)))


def _said(
    before: EmbeddingTables,
    after: EmbeddingTables,
    report: VocabularyReport | None,
    words: Word2vec | None,
) -> tuple[dict[str, str], dict[str, Any]]:
    """What to show, and what to keep."""
    shown = {"from": str(_INPUT.value), **(report.rows() if report else {})}
    sizes = {}
    for part in ("token", "segment", "position"):
        old, new = (getattr(tables, part).shape for tables in (before, after))
        sizes[part] = {"before": old[0], "after": new[0]}
        rows = f"{old[0]:,}" if old == new else f"{old[0]:,} → {new[0]:,}"
        shown[f"{part} table"] = f"{rows} rows of width {new[1]}"
    found = 0 if words is None or after.tokenizer is None else len(words.rows_of(after.tokenizer))
    if words is not None:
        shown[f"rows from {_TOKEN_ROWS.value}"] = (
            f"{found:,} of {len(after.token):,}; the file has {len(words.pieces):,}"
        )
    if after.vocab_hash is not None:
        shown["vocabulary hash"] = after.vocab_hash[:12]
    record = {
        "input": _INPUT.value,
        "vocabulary_hash": after.vocab_hash,
        "width": after.width,
        "rows": sizes,
        "vocabulary": report.to_json() if report else None,
        "token_rows": None if words is None else {"file": _TOKEN_ROWS.value, "rows": found},
    }
    return shown, record


if __name__ == "__main__":
    command.run(main)
