"""WordPiece over the Rust `tokenizers` library, with any `vocab.txt`."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from bert_jax.arguments import expect, is_url, path_like, strings
from bert_jax.errors import UserError
from bert_jax.mirror import at_hand, told_by_url
from bert_jax.text.added_tokens import AddedToken, pieces_of_words
from bert_jax.text.encoding import BatchEncoding, Encoding, Padding, pad
from bert_jax.text.inputs import Inputs, make_inputs
from bert_jax.text.piece_memo import PieceMemo, WholeTexts
from bert_jax.text.splitting import AS_WRITTEN, WORDS, Normalisation, Splitting, splitting_of
from bert_jax.text.valid_unicode import valid_unicode
from bert_jax.text.vocab_file import read_vocab, recorded_treatment, without_blanks
from bert_jax.whole_file import write_text

# What transformers' tokenizers take, and what stands for it here.
_INSTEAD = {
    "truncation": "max_length=N, which cuts longer texts, besides texts, pairs,",
    "return_tensors": "none, since NumPy arrays are given, which models take; only max_length,",
    "text": "texts, pairs, max_length,",
    "text_pair": "pairs, the second texts, besides texts, max_length,",
}
SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class Tokenizer:
    """Text to pieces and back, as the published BERT does it.

    Cleans the text (control characters vanish, every white space is a space), puts spaces round
    Chinese characters, optionally lowercases and strips accents, splits at white space and
    punctuation, and cuts every word greedily into the longest pieces of the vocabulary. A word of
    more than 100 characters, or one that cannot be cut, is one [UNK].

    Text that is already split is treated differently (`splitting`, see `bert_jax.text.splitting`),
    and tokens that were added to a vocabulary are found before all that (`added`).

    Special pieces that a user types are text: "[MASK]" becomes "[", "mask", "]", so no input can
    forge one. Code that means them says so with `special_pieces_in_text=True`.

        >>> pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##able", "cats"]
        >>> tokenizer = Tokenizer(pieces)
        >>> tokenizer.encode("Unable cats!").tokens
        ['[CLS]', 'un', '##able', 'cats', '[UNK]', '[SEP]']
        >>> tokenizer(["cats", "unable cats"])["input_ids"]
        array([[2, 7, 3, 0, 0],
               [2, 5, 6, 7, 3]], dtype=int32)
    """

    def __init__(
        self,
        pieces: Sequence[str],
        lowercase: bool = True,
        strip_accents: bool | None = None,
        split_chinese: bool = True,
        splitting: str | Splitting = WORDS,
        added: Sequence[AddedToken] = (),
    ):
        """Make a tokenizer from the pieces of a vocabulary, in the order of their ids.

        Args:
            pieces: V distinct pieces; those that continue a word begin with "##". The five of
                `SPECIAL_PIECES` must be among them, anywhere.
            lowercase: whether the vocabulary is uncased.
            strip_accents: None does as `lowercase` does, which is what BERT was published with.
            split_chinese: whether every Chinese character is a word of its own.
            splitting: `words`, which the three before are about; `spaces`, for text that is cut
                already; or a regular expression, of which every match is a piece.
            added: those of the pieces that are found in a text before it is split.

        Raises:
            UserError: a special piece is missing, a piece is there twice, an added token is no
                piece, or the splitting is none.
        """
        if isinstance(pieces, str | os.PathLike):
            raise UserError(
                f"got pieces={os.fspath(pieces)!r}, a path; expected the pieces themselves, or"
                " Tokenizer.from_pretrained(path) or Tokenizer.from_file(path), which read them"
            )
        self.pieces: tuple[str, ...] = tuple(strings("pieces", pieces, "pieces"))
        if (no_text := next((p for p in self.pieces if valid_unicode(p)[1]), None)) is not None:
            raise UserError(f"got the piece {no_text!r}, which is not valid Unicode; expected text")
        self.splitting = splitting_of(splitting)
        normalisation = Normalisation(lowercase, strip_accents, split_chinese)
        self.normalisation = normalisation if self.splitting.has_words else AS_WRITTEN
        self.added = tuple(token for token in added if token.content not in SPECIAL_PIECES)
        self._ids = {piece: i for i, piece in enumerate(self.pieces)}
        if missing := [piece for piece in SPECIAL_PIECES if piece not in self._ids]:
            raise UserError(
                f"got a vocabulary of {len(self.pieces)} pieces without {' '.join(missing)}; "
                f"expected one piece per line with {' '.join(SPECIAL_PIECES)} among them"
            )
        if len(self._ids) < len(self.pieces):
            twice = next(p for i, p in enumerate(self.pieces) if self._ids[p] != i)
            raise UserError(
                f"got the piece {twice!r} twice in the vocabulary; expected every line once"
            )
        if absent := [t.content for t in self.added if t.content not in self._ids]:
            raise UserError(
                f"got the added token {absent[0]!r}, which is none of the {len(self.pieces)}"
                " pieces; expected a row for it among them"
            )
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = self.special_ids
        self._library = self._make_library()
        self._memo: PieceMemo | WholeTexts | None = None

    @classmethod
    @told_by_url()
    def from_pretrained(
        cls, source: str | os.PathLike[str], splitting: str | Splitting | None = None
    ) -> "Tokenizer":
        """Make the tokenizer that a model was trained with.

        Args:
            source: a checkpoint or workdir of ours, a Hugging Face directory, a Google checkpoint
                (its directory or its prefix), a `vocab.txt` or `tokenizer.json`, or a name on the
                Hugging Face hub such as `bert-base-uncased`.
            splitting: how text is split (see `__init__`), where the source does not say.

        Raises:
            UserError: it does not exist, has no BERT vocabulary, or says that
                text is split in another way than `splitting`.
        """
        from bert_jax.text.tokenizer_files import load_tokenizer

        return load_tokenizer(source, splitting)

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write the files from which transformers' `AutoTokenizer` makes the same tokenizer.

        There, unlike here, special pieces that a user types are special.

        Args:
            directory: made where absent; other files in it, such as a model's, stay.

        Raises:
            UserError: it cannot be written.
        """
        from bert_jax.text.tokenizer_files import write_tokenizer

        try:
            if not is_url(directory):
                Path(directory).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"got {directory}, which cannot be written ({error.strerror}); expected a folder"
            ) from None
        write_tokenizer(self, Path(directory))

    @classmethod
    @told_by_url()
    def from_file(
        cls,
        vocab: str | Path,
        lowercase: bool | None = None,
        strip_accents: bool | None = None,
        split_chinese: bool | None = None,
        splitting: str | Splitting | None = None,
        added: Sequence[AddedToken] = (),
        like: "Tokenizer | None" = None,
    ) -> "Tokenizer":
        """Make a tokenizer from a `vocab.txt`: one piece per line, the line number is the id.

        The other arguments are those of `__init__`; what is None is as the `vocab.txt.json` says
        that learning left beside the file, or else as `like` has it, or else the default there.

        Raises:
            UserError: no such file, not UTF-8 text, not a BERT vocabulary (see `__init__`), or one
                that was learned from text treated in another way.
        """
        given = {
            "lowercase": lowercase, "strip_accents": strip_accents, "split_chinese": split_chinese,
            "splitting": None if splitting is None else splitting_of(splitting).name,
        }  # fmt: skip
        path_like("vocab", vocab, "the path of a vocab.txt")
        here = at_hand(vocab, beside=[".json"])
        learned = recorded_treatment(here)
        for name, value in given.items():
            if value is not None and value != learned.get(name, value):
                raise UserError(
                    f"got {name}={value!r} for {vocab}, which was learned with"
                    f" {name}={learned[name]!r} (according to {Path(vocab).name}.json next to it);"
                    " expected"
                    f" the same, or no `{name}`"
                )
        treated = {**learned, **{name: value for name, value in given.items() if value is not None}}
        if like is not None:
            own = {name: getattr(like, name) for name in ("lowercase", "split_chinese")}
            if treated.get("lowercase", like.lowercase) == like.lowercase:
                own["strip_accents"] = like.strip_accents
            treated = {**own, "splitting": like.splitting, **treated}
        how = splitting_of(treated.pop("splitting", WORDS))
        pieces = read_vocab(here)
        if how.has_words:
            pieces = without_blanks(pieces)
        if like is not None:
            present = set(pieces)
            added = tuple(token for token in like.added if token.content in present)
        try:
            return cls(pieces, **treated, splitting=how, added=added)
        except UserError as error:
            raise UserError(f"{vocab}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as a `vocab.txt`, whole or not at all."""
        write_text(path, "".join(f"{piece}\n" for piece in self.pieces))

    def __reduce__(self) -> tuple[type, tuple]:
        """Pickle as the arguments it was made of, so that a worker makes its own memo."""
        how = self.lowercase, self.strip_accents, self.split_chinese, self.splitting, self.added
        return type(self), (self.pieces, *how)

    def with_pieces(
        self, pieces: Sequence[str], added: Iterable[AddedToken] | None = None
    ) -> "Tokenizer":
        """Make one with another vocabulary that treats text the same way.

        Args:
            pieces: of the new vocabulary.
            added: its added tokens; by default those of this one that it holds.
        """
        present = set(pieces)
        kept = (token for token in self.added if token.content in present)
        make, (_, *how, _) = self.__reduce__()
        return make(pieces, *how, tuple(kept if added is None else added))

    def __len__(self) -> int:
        """V, the number of pieces."""
        return len(self.pieces)

    def __repr__(self) -> str:
        """Its size and how it treats text."""
        casing = "uncased" if self.lowercase else "cased"
        how = casing if self.splitting.has_words else f"splitting={self.splitting.name!r}"
        added = f", {len(self.added)} of them added" if self.added else ""
        return f"<Tokenizer of {len(self):,} pieces{added}, {how}>"

    # How it treats text, and what the vocabulary is.

    @property
    def lowercase(self) -> bool:
        """Whether text is lower-cased."""
        return self.normalisation.lowercase

    @property
    def strip_accents(self) -> bool | None:
        """Whether accents are stripped; None does as `lowercase` does."""
        return self.normalisation.strip_accents

    @property
    def split_chinese(self) -> bool:
        """Whether every Chinese character is a separate word."""
        return self.normalisation.split_chinese

    def removes(self, character: str) -> bool:
        """Whether nothing is left of a character of a text, as of an accent that is stripped."""
        return self.splitting.has_words and self.normalisation.removes(character)

    @property
    def vocab_size(self) -> int:
        """V, the number of pieces."""
        return len(self.pieces)

    @cached_property
    def vocab_hash(self) -> str:
        """SHA-256, in hexadecimal, of the pieces joined by newlines in UTF-8."""
        return hashlib.sha256("\n".join(self.pieces).encode()).hexdigest()

    def id_of(self, piece: str) -> int:
        """Return the id of a piece.

        Raises:
            UserError: the vocabulary does not hold it.
        """
        if piece not in self._ids:
            raise UserError(
                f"got piece {piece!r}; expected one of the vocabulary's {len(self.pieces)}"
            )
        return self._ids[piece]

    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """The ids of [PAD], [UNK], [CLS], [SEP] and [MASK], in this order."""
        return tuple(self._ids[piece] for piece in SPECIAL_PIECES)

    @cached_property
    def is_continuation(self) -> np.ndarray:
        """Bool [V]: whether a piece continues a word ("##ing")."""
        if not self.splitting.has_words:
            return np.zeros(len(self.pieces), bool)
        return np.array([p.startswith("##") and len(p) > 2 for p in self.pieces], bool)

    # From text to pieces.

    def __call__(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        padding: Padding = "longest",
        special_pieces_in_text: bool = False,
        **unknown: Any,
    ) -> BatchEncoding:
        """Encode texts or pairs as the arrays a model takes: `model(**tokenizer(texts))`.

        The ids are those of transformers' `BertTokenizerFast` with `padding` and, where there is a
        `max_length`, `truncation=True`; but special pieces that a user types are text.

        Args:
            texts: B texts, or one.
            pairs: as many second texts, or None.
            max_length: the most positions of a row, special pieces counted; texts are cut longest
                first. None cuts nothing.
            padding: rows are as long as the longest of them, or `max_length`.
            special_pieces_in_text: as for `encode`.
            **unknown: what transformers' tokenizers take and this one does not, to say so.

        Raises:
            UserError: `texts` and `pairs` differ in number or are no texts, `max_length` has no
                room for the special pieces, rows are to be padded to a `max_length` that is not
                given, or an argument is unknown.
        """
        if unknown:
            name, value = next(iter(unknown.items()))
            raise UserError(
                f"got {name}={value!r}; expected {_INSTEAD.get(name, 'texts, pairs, max_length,')}"
                " padding and special_pieces_in_text"
            )
        encodings = self.encode_batch(texts, pairs, max_length, special_pieces_in_text)
        return pad(encodings, self.pad_id, padding, max_length)

    def encode(
        self,
        text: str,
        pair: str | None = None,
        max_length: int | None = None,
        special_pieces_in_text: bool = False,
    ) -> Encoding:
        """Encode one text or a pair, with [CLS] and [SEP] (see `inputs.make_inputs`).

        Args:
            text: the first text.
            pair: the second text, or None.
            max_length: the most positions of the result, L, special pieces counted; texts are cut
                longest first. None cuts nothing.
            special_pieces_in_text: whether the five special pieces, written exactly, stand for
                themselves instead of being text (as for "Paris is the [MASK] of France.").

        Raises:
            UserError: `max_length` has no room for the special pieces, or a text is not a string.
        """
        text = _valid("text", text)
        pair = None if pair is None else _valid("pair", pair)
        return self._frame(
            self._encoder(special_pieces_in_text).encode(text, add_special_tokens=False),
            None
            if pair is None
            else self._encoder(special_pieces_in_text).encode(pair, add_special_tokens=False),
            max_length,
        )

    def encode_batch(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        max_length: int | None = None,
        special_pieces_in_text: bool = False,
    ) -> list[Encoding]:
        """Encode many texts, or as many pairs, on all cores; each as `encode` would.

        Raises:
            UserError: `texts` and `pairs` differ in number, or are not strings.
        """
        texts = [valid_unicode(text)[0] for text in strings("texts", texts)]
        if pairs is not None:
            pairs = [valid_unicode(pair)[0] for pair in strings("pairs", pairs)]
        if pairs is not None and len(pairs) != len(texts):
            raise UserError(
                f"got {len(texts)} texts and {len(pairs)} pairs; expected one pair for each text"
            )
        encoder = self._encoder(special_pieces_in_text)
        both = encoder.encode_batch([*texts, *(pairs or ())], add_special_tokens=False)
        seconds = both[len(texts) :] if pairs is not None else [None] * len(texts)
        return [
            self._frame(first, second, max_length)
            for first, second in zip(both[: len(texts)], seconds, strict=True)
        ]

    def inputs_of(
        self,
        texts: Sequence[str],
        max_length: int | None = None,
        special_pieces_in_text: bool = False,
    ) -> list[Inputs]:
        """Return the ids of many texts as `encode_batch` does, and nothing else: what models read.

        Tokens and offsets take longer to make than ids.

        Raises:
            UserError: they are not strings, or `max_length` has no room for the special pieces.
        """
        valid = [valid_unicode(text)[0] for text in strings("texts", texts)]
        encoder = self._encoder(special_pieces_in_text)
        frame = partial(
            make_inputs, second=None, cls_id=self.cls_id, sep_id=self.sep_id, max_length=max_length
        )
        found = encoder.encode_batch_fast(valid, add_special_tokens=False)
        return [frame(each.ids) for each in found]

    def piece_ids(self, text: str) -> np.ndarray:
        """Return the pieces of a text, int32 [n], with no special pieces: the fast way.

        The same ids as the library gives; several times faster on long text, because a chunk
        between white spaces is cut only the first time it is met (`piece_memo`).
        """
        return np.frombuffer(self.memo.pieces(_valid("text", text)), np.int32).copy()

    @property
    def memo(self) -> PieceMemo | WholeTexts:
        """The chunks met so far and their pieces, for code that joins them itself."""
        if self._memo is None:
            holds_space = any(c.isspace() for token in self.added for c in token.content)
            self._memo = (
                WholeTexts(self._library)
                if holds_space
                else self.splitting.memo(self._library, self.lowercase)
            )
        return self._memo

    # From pieces to text.

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Join pieces to readable text: "##" pieces to their word, and punctuation tidied.

        Raises:
            UserError: an id outside the vocabulary.
        """
        ids = [int(i) for i in expect("ids", ids, Iterable, "the ids of pieces, in a list")]
        if wrong := [i for i in ids if not 0 <= i < len(self.pieces)]:
            raise UserError(f"got id {wrong[0]}; expected 0 to {len(self.pieces) - 1}")
        if skip_special_tokens:
            added = {self._ids[token.content] for token in self.added if token.special}
            ids = [i for i in ids if i not in self.special_ids and i not in added]
        return self._special_encoder.decode(ids, skip_special_tokens=False)

    # The library.

    def _make_library(self, special_pieces_in_text: bool = False) -> tokenizers.Tokenizer:
        ids = self._ids
        if self.added:
            ids = {piece: ids[piece] for piece in pieces_of_words(self.pieces, self.added)}
        hidden = () if special_pieces_in_text else SPECIAL_PIECES
        library = self.splitting.library(ids, self.normalisation, hidden)
        if special_pieces_in_text:
            library.add_special_tokens(list(SPECIAL_PIECES))
        by_row = sorted(self.added, key=lambda token: self._ids[token.content])
        library.add_tokens([token.of_library() for token in by_row])
        return library

    def library_with_specials(self) -> tokenizers.Tokenizer:
        """A new tokenizer of the Rust library, to which special pieces in a text are special."""
        return self._make_library(special_pieces_in_text=True)

    @cached_property
    def _special_encoder(self) -> tokenizers.Tokenizer:
        return self.library_with_specials()

    def _encoder(self, special_pieces_in_text: bool) -> tokenizers.Tokenizer:
        # Two encoders, not one that is switched: switching would not be safe between threads.
        return self._special_encoder if special_pieces_in_text else self._library

    def _frame(
        self,
        first: tokenizers.Encoding,
        second: tokenizers.Encoding | None,
        max_length: int | None,
    ) -> Encoding:
        inputs = make_inputs(
            first.ids,
            None if second is None else second.ids,
            cls_id=self.cls_id,
            sep_id=self.sep_id,
            max_length=max_length,
        )
        offsets = [(0, 0), *first.offsets[: inputs.first], (0, 0)]
        if second is not None:
            offsets += [*second.offsets[: inputs.second], (0, 0)]
        tokens = [self.pieces[i] for i in inputs.ids]
        return Encoding(inputs.ids, inputs.type_ids, tokens, offsets)


def _valid(name: str, text: str) -> str:
    """A text, with lone surrogates as U+FFFD."""
    if type(text) is str and text.isascii():  # the usual case, at no cost
        return text
    return valid_unicode(expect(name, text, str, "a text, one string"))[0]
