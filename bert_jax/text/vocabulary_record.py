"""What is kept of a tokenizer: an item of checkpoints, JSON in files of tables.

{"hash": "3f…", "lowercase": true, "strip_accents": null, "split_chinese": true,
 "pieces": ["[PAD]", …]}

and, where text is not split into words or tokens were added to the vocabulary,

{"splitting": "spaces", "added": [{"content": "[ENT]", "single_word": false, …}]}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_jax.errors import UserError
from bert_jax.json_reading import Kinds, check_members
from bert_jax.text.added_tokens import AddedToken
from bert_jax.text.splitting import WORDS
from bert_jax.text.tokenizer import Tokenizer


def text_settings(tokenizer: Tokenizer) -> dict[str, Any]:
    """How a tokenizer treats text, as JSON; all but its pieces."""
    settings: dict[str, Any] = {
        "lowercase": tokenizer.lowercase,
        "strip_accents": tokenizer.strip_accents,
        "split_chinese": tokenizer.split_chinese,
    }
    if tokenizer.splitting != WORDS:
        settings["splitting"] = tokenizer.splitting.name
    if tokenizer.added:
        settings["added"] = [dataclasses.asdict(token) for token in tokenizer.added]
    return settings


def arguments_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Tokenizer` that such settings stand for; other keys are ignored.

    Raises:
        KeyError: nothing says whether text is lower-cased.
    """
    return {
        "lowercase": settings["lowercase"],
        "strip_accents": settings.get("strip_accents"),
        "split_chinese": settings.get("split_chinese", True),
        "splitting": settings.get("splitting", WORDS),
        "added": tuple(AddedToken(**token) for token in settings.get("added", ())),
    }


def vocabulary_record(tokenizer: Tokenizer) -> dict[str, Any]:
    """All that is needed to make the tokenizer again, and the hash of its pieces."""
    return {
        "hash": tokenizer.vocab_hash,
        **text_settings(tokenizer),
        "pieces": list(tokenizer.pieces),
    }


def tokenizer_from_record(record: Mapping[str, Any], source: str) -> Tokenizer:
    """Make the tokenizer a record describes; other keys of the record are ignored.

    Args:
        record: as `vocabulary_record` made it.
        source: what to call it in an error.

    Raises:
        UserError: something is missing, or the pieces are not those of the hash.
    """
    check_members(dict(record), _KINDS, Path(source))
    for token in record.get("added") or ():
        if not isinstance(token, dict) or token.keys() - _OF_TOKENS:
            raise UserError(f"got the added token {token!r} in {source}; expected {_OF_TOKENS}")
    try:
        tokenizer = Tokenizer(record["pieces"], **arguments_of(record))
        expected = record["hash"]
    except KeyError as error:
        raise UserError(
            f"got a vocabulary without {error} in {source}; expected pieces, hash and lowercase"
        ) from None
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    if tokenizer.vocab_hash != expected:
        raise UserError(
            f"got pieces in {source} whose hash is {tokenizer.vocab_hash[:12]}; expected"
            f" {expected[:12]}, which is written next to them: the file was changed or is damaged"
        )
    return tokenizer


_KINDS: dict[str, Kinds] = {
    "pieces": list, "hash": str, "lowercase": bool, "strip_accents": bool, "split_chinese": bool,
    "splitting": str, "added": list,
}  # fmt: skip
_OF_TOKENS = {field.name for field in dataclasses.fields(AddedToken)}
