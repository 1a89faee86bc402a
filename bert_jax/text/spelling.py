"""How a vocabulary spells a piece of another one.

    vocabulary  play  ##ing  ##in  ##g  in  g …

    playing  ->  play ##ing      as in text
    ##ing    ->  ##ing           inside a word: only pieces that continue one
    ##ingin  ->  ##ing ##in      and not  ing…  or  in

A piece is taken for text, so it is normalised first: an uncased vocabulary spells `Playing` like
`playing`.
"""

from __future__ import annotations

import re

from tokenizers.pre_tokenizers import BertPreTokenizer

from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer

_LONGEST_WORD = 100  # characters; the tokenizer cuts no longer ones either
_NO_TEXT = re.compile(r"\[[^\[\]\s]+\]")  # [MASK], [unused7]: they stand for no text


class Speller:
    """Spells pieces with the vocabulary of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._ids = {piece: i for i, piece in enumerate(tokenizer.pieces)}
        self._normalizer = tokenizer.normalisation.normalizer()
        self._splitter = BertPreTokenizer()

    def spell(self, piece: str) -> tuple[int, ...]:
        """Return the ids of the pieces that spell `piece`, first to last.

        Nothing is returned where it cannot be spelled: a character the vocabulary lacks, a piece
        that stands for no text, such as [unused7], or one of which normalising leaves nothing.
        """
        if not self._tokenizer.splitting.has_words:
            return self._text(piece)
        if not self.is_text(piece):
            return ()
        if not (piece.startswith("##") and len(piece) > 2):
            return self._text(piece)
        # What stands inside a word, after a letter. What is split off there, such as punctuation,
        # begins words of its own: the tokenizer would never see it as a continuation.
        first, *rest = self._words("a" + piece[2:]) or ["a"]
        parts = [self._inside(first[1:]) if len(first) > 1 else (), *map(self._text, rest)]
        if (len(first) > 1 and not parts[0]) or not all(parts[1:]):
            return ()
        return tuple(i for part in parts for i in part)

    def is_text(self, piece: str) -> bool:
        """Whether a piece is cut out of text: neither [MASK] nor, among words, [unused7] is."""
        if not self._tokenizer.splitting.has_words:
            return piece not in SPECIAL_PIECES
        return not _NO_TEXT.fullmatch(piece)

    def _text(self, text: str) -> tuple[int, ...]:
        ids = tuple(self._tokenizer.piece_ids(text).tolist())
        return () if self._tokenizer.unk_id in ids else ids

    def _inside(self, rest: str) -> tuple[int, ...]:
        """Cut the rest of a word greedily into the longest pieces that continue one."""
        ids: list[int] = []
        if len(rest) >= _LONGEST_WORD:
            return ()
        while rest:
            for end in range(len(rest), 0, -1):
                if (found := self._ids.get("##" + rest[:end])) is not None:
                    ids.append(found)
                    rest = rest[end:]
                    break
            else:
                return ()
        return tuple(ids)

    def _words(self, text: str) -> list[str]:
        normal = self._normalizer.normalize_str(text)
        return [word for word, _ in self._splitter.pre_tokenize_str(normal)]
