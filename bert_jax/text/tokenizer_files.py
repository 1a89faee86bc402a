"""A tokenizer from wherever a model lies, and in the files that Hugging Face's libraries open."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from pathlib import Path
from typing import Any

from tokenizers.processors import TemplateProcessing

from bert_jax.errors import UserError
from bert_jax.json_reading import read_json_object
from bert_jax.pretrained_paths import (
    find_google,
    find_ours,
    here_or_inside,
    locate,
    model_folder,
)
from bert_jax.text.added_tokens import AddedToken
from bert_jax.text.huggingface_files import SPECIAL_NAMES, files_of, tokenizer_of
from bert_jax.text.splitting import WORDS, Splitting, splitting_of
from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer
from bert_jax.text.vocabulary_record import tokenizer_from_record
from bert_jax.whole_file import write_text

_log = logging.getLogger("bert_jax")
FILES = (
    "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json",
)  # fmt: skip
_EITHER = ("vocab.txt", "tokenizer.json")
# In transformers 4 and 5 this class does what tokenizer.json says.
_AS_THE_LIBRARY = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
}


def load_tokenizer(
    source: str | os.PathLike[str], splitting: str | Splitting | None = None
) -> Tokenizer:
    """The tokenizer of anything that has one; see `Tokenizer.from_pretrained`."""
    path = model_folder(locate(source, here_or_inside(FILES)))
    if (record := (find_ours(path) or path) / "vocabulary" / "data.json").is_file():
        return split_as(
            splitting, tokenizer_from_record(read_json_object(record), str(path)), str(path)
        )
    if (google := find_google(path)) is not None:
        path = google.parent
    tokenizer, notes = tokenizer_of(files_of(path), splitting)
    for note in notes:
        _log.info("%s: %s", source, note)
    return tokenizer


def read_tokenizer(
    directory: Path, splitting: str | Splitting | None = None
) -> tuple[Tokenizer | None, tuple[str, ...]]:
    """The tokenizer of a model directory, and notes on what was guessed or is not obeyed.

    None, with a note, where there is no vocabulary or one that BERT's tokenizer cannot have.

    Args:
        directory: what `huggingface_files` describes; a lone `vocab.txt` with capital letters is
            taken for a cased one.
        splitting: how text is split, where the files do not say; None for words.

    Raises:
        UserError: the splitting is none, or not that of the files.
    """
    if not any((directory / name).is_file() for name in _EITHER):
        return None, (f"no tokenizer: there is no {' or '.join(_EITHER)}",)
    try:
        tokenizer, notes = tokenizer_of(files_of(directory), splitting)
    except UserError as error:
        if splitting is not None:
            raise
        return None, (f"no tokenizer: {error}",)
    return tokenizer, tuple(notes)


def split_as(splitting: str | Splitting | None, tokenizer: Tokenizer, source: str) -> Tokenizer:
    """The tokenizer, but that it splits text in a way that was given.

    Args:
        splitting: None for that of the tokenizer.
        tokenizer: one that was read from `source`.
        source: what to call it in an error.

    Raises:
        UserError: the tokenizer says that text is split in another way, not into words.
    """
    wanted = tokenizer.splitting if splitting is None else splitting_of(splitting)
    if wanted == tokenizer.splitting:
        return tokenizer
    if tokenizer.splitting != WORDS:
        raise UserError(
            f"got splitting={wanted.name!r} for {source}, whose vocabulary is of text split by"
            f" {tokenizer.splitting.name!r}; expected the same, or no `splitting`"
        )
    return Tokenizer(tokenizer.pieces, splitting=wanted, added=tokenizer.added)


def write_tokenizer(tokenizer: Tokenizer, directory: Path, max_length: int | None = None) -> None:
    """Write the files from which transformers makes the same tokenizer.

    In them, unlike here, special pieces that a user types are special.

    Args:
        tokenizer: ours.
        directory: an existing one.
        max_length: the most positions the model has, where they are known.
    """
    tokenizer.save(directory / "vocab.txt")
    library = tokenizer.library_with_specials()
    library.post_processor = TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", tokenizer.cls_id), ("[SEP]", tokenizer.sep_id)],
    )
    write_text(directory / "tokenizer.json", library.to_str(pretty=True))
    specials = dict(zip(SPECIAL_NAMES, SPECIAL_PIECES, strict=True))
    _write_json(directory / "special_tokens_map.json", specials)
    words = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": tokenizer.lowercase,
        "strip_accents": tokenizer.strip_accents,
        "tokenize_chinese_chars": tokenizer.split_chinese,
    }
    settings: dict[str, Any] = {
        **(words if tokenizer.splitting.has_words else _AS_THE_LIBRARY),
        **({"added_tokens_decoder": _added_tokens(tokenizer)} if tokenizer.added else {}),
        **({} if max_length is None else {"model_max_length": max_length}),
        **specials,
    }
    _write_json(directory / "tokenizer_config.json", settings)


def _added_tokens(tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
    """Row to token, special pieces included, as transformers writes it."""
    specials = [AddedToken(p, normalized=False, special=True) for p in SPECIAL_PIECES]
    tokens = {tokenizer.id_of(token.content): token for token in (*specials, *tokenizer.added)}
    contents = {str(row): dataclasses.asdict(tokens[row]) for row in sorted(tokens)}
    for content in contents.values():
        del content["is_piece"]
    return contents


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
