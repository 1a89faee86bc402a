"""What is kept of a tokenizer: an item of checkpoints, JSON in files of tables.

{"hash": "3f…", "lowercase": true, "strip_accents": null, "split_chinese": true,
 "pieces": ["[PAD]", …]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer


def vocabulary_record(tokenizer: Tokenizer) -> dict[str, Any]:
    """All that is needed to make the tokenizer again, and the hash of its pieces."""
    return {
        "hash": tokenizer.vocab_hash,
        "lowercase": tokenizer.lowercase,
        "strip_accents": tokenizer.strip_accents,
        "split_chinese": tokenizer.split_chinese,
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
    try:
        tokenizer = Tokenizer(
            record["pieces"],
            record["lowercase"],
            record.get("strip_accents"),
            record.get("split_chinese", True),
        )
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
            f" {expected[:12]}, which is written beside them: the file was changed or is damaged"
        )
    return tokenizer
