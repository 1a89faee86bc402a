"""A tokenizer from wherever a model lies, and in the files that Hugging Face's libraries open."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from tokenizers.processors import TemplateProcessing

from bert_jax.errors import UserError
from bert_jax.pretrained_paths import find_google, find_ours, locate
from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer
from bert_jax.text.vocabulary_record import tokenizer_from_record
from bert_jax.whole_file import write_text

_log = logging.getLogger("bert_jax")
FILES = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_EITHER = ("vocab.txt", "tokenizer.json")


def load_tokenizer(source: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer of anything that has one; see `Tokenizer.from_pretrained`."""
    path = locate(source, FILES)
    if (record := (find_ours(path) or path) / "vocabulary" / "data.json").is_file():
        return tokenizer_from_record(_json(record), str(path))
    if (google := find_google(path)) is not None:
        path = google.parent
    tokenizer, notes = _from_directory(path) if path.is_dir() else _from_file(path)
    for note in notes:
        _log.info("%s: %s", source, note)
    return tokenizer


def read_tokenizer(directory: Path) -> tuple[Tokenizer | None, tuple[str, ...]]:
    """The tokenizer of a model directory, and notes on what was guessed.

    1. `tokenizer.json` holds everything and wins, as at Hugging Face.
    2. `vocab.txt` holds the pieces; `tokenizer_config.json` how text is normalised.
    3. With `vocab.txt` alone, a vocabulary with capital letters is taken for a cased one.

    None, with a note, where there is no vocabulary or one that BERT's tokenizer cannot have.
    """
    if not any((directory / name).is_file() for name in _EITHER):
        return None, (f"no tokenizer: there is no {' or '.join(_EITHER)}",)
    try:
        return _from_directory(directory)
    except UserError as error:
        return None, (f"no tokenizer: {error}",)


def _from_directory(directory: Path) -> tuple[Tokenizer, tuple[str, ...]]:
    for name in reversed(_EITHER):
        if (directory / name).is_file():
            return _from_file(directory / name)
    raise UserError(
        f"got {directory}, which has no vocabulary; expected a {' or '.join(_EITHER)} in it"
    )


def _from_file(path: Path) -> tuple[Tokenizer, tuple[str, ...]]:
    return (_from_json(path), ()) if path.suffix == ".json" else _from_pieces(path)


def _from_pieces(vocab: Path) -> tuple[Tokenizer, tuple[str, ...]]:
    settings = vocab.with_name("tokenizer_config.json")
    content = _json(settings) if settings.is_file() else {}
    notes: tuple[str, ...] = ()
    if "do_lower_case" not in content:
        pieces = Tokenizer.from_file(vocab).pieces
        cased = any(
            piece != piece.lower()
            for piece in pieces
            if not (piece.startswith("[") and piece.endswith("]"))
        )
        guess = "cased" if cased else "uncased"
        note = f"nothing says whether the vocabulary is cased; by its pieces it is {guess}"
        content, notes = {**content, "do_lower_case": not cased}, (note,)
    return (
        Tokenizer.from_file(
            vocab,
            lowercase=bool(content["do_lower_case"]),
            strip_accents=content.get("strip_accents"),
            split_chinese=bool(content.get("tokenize_chinese_chars", True)),
        ),
        notes,
    )


def _from_json(path: Path) -> Tokenizer:
    """BERT's tokenizer from a `tokenizer.json`, if it is that of a BERT."""
    content = _json(path)
    model, normalizer = content.get("model") or {}, content.get("normalizer") or {}
    kinds = {
        "model": (model.get("type", "WordPiece"), "WordPiece"),
        "normalizer": (normalizer.get("type"), "BertNormalizer"),
        "pre_tokenizer": ((content.get("pre_tokenizer") or {}).get("type"), "BertPreTokenizer"),
    }
    for part, (got, expected) in kinds.items():
        if got != expected:
            raise UserError(f"got {path} with {part} {got}; expected {expected}, as BERT has")
    prefix = model.get("continuing_subword_prefix", "##")
    if prefix != "##" or model.get("unk_token", "[UNK]") != "[UNK]":
        raise UserError(
            f"got {path}, whose pieces continue a word with {prefix!r} and whose unknown piece is "
            f"{model.get('unk_token')!r}; expected '##' and '[UNK]'"
        )
    ids = dict(model["vocab"])
    for token in content.get("added_tokens") or ():
        ids.setdefault(token["content"], token["id"])
    pieces = sorted(ids, key=ids.__getitem__)
    if [ids[piece] for piece in pieces] != list(range(len(pieces))):
        raise UserError(f"got {path}, whose ids have gaps; expected 0 to {len(pieces) - 1}")
    return Tokenizer(
        pieces,
        lowercase=bool(normalizer.get("lowercase", True)),
        strip_accents=normalizer.get("strip_accents"),
        split_chinese=bool(normalizer.get("handle_chinese_chars", True)),
    )


def write_tokenizer(tokenizer: Tokenizer, directory: Path, max_length: int | None = None) -> None:
    """Write the four files from which transformers makes the same tokenizer.

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
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    specials = dict(zip(names, SPECIAL_PIECES, strict=True))
    _write_json(directory / "special_tokens_map.json", specials)
    settings: dict[str, Any] = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": tokenizer.lowercase,
        "strip_accents": tokenizer.strip_accents,
        "tokenize_chinese_chars": tokenizer.split_chinese,
        **({} if max_length is None else {"model_max_length": max_length}),
        **specials,
    }
    _write_json(directory / "tokenizer_config.json", settings)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"got {path}, which cannot be read as JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"got a JSON {type(content).__name__} in {path}; expected an object")
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
