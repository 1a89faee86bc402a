"""How text is split before its pieces are looked up: into words, at spaces, or by an expression.

    words                "C(=O) nitro-"    ->  c ( = o ) nit ##ro -     words, cut into pieces
    spaces               "C ( =O )"        ->  C ( =O )                 what stands between blanks
    Cl|Br|[A-Za-z()=]    "C(=O)Br"         ->  C ( = O ) Br             what the expression matches

Words are the text of people: normalised, and cut greedily into pieces of the vocabulary (see
`Tokenizer`). The other two are for text that is already split, or split by a rule: molecules,
proteins, code. There every part is one piece, or [UNK], exactly as it is written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import tokenizers
from tokenizers.decoders import Decoder, Fuse
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordLevel, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, PreTokenizer, Split, WhitespaceSplit

from bert_jax.errors import UserError
from bert_jax.text.piece_memo import PieceMemo, WholeTexts

LONGEST_WORD = 100  # characters; BERT encodes a longer one as [UNK] whatever the vocabulary
UNKNOWN = "[UNK]"


@dataclass(frozen=True)
class Normalisation:
    """What is done to text before it is split; the names and meaning of the Rust BertNormalizer."""

    lowercase: bool = True
    strip_accents: bool | None = None  # None: where lower-cased
    split_chinese: bool = True

    def normalizer(self) -> BertNormalizer:
        """Make the library's normaliser."""
        return BertNormalizer(
            clean_text=True,
            handle_chinese_chars=self.split_chinese,
            strip_accents=self.strip_accents,
            lowercase=self.lowercase,
        )

    def removes(self, character: str) -> bool:
        """Whether nothing is left of a character, such as a control character, or an accent."""
        return not self._normalizer.normalize_str(character)

    @cached_property
    def _normalizer(self) -> BertNormalizer:
        return self.normalizer()


AS_WRITTEN = Normalisation(False, False, False)


class Splitting(ABC):
    """How text is split.

    Attributes:
        name: what flags and files call it: `words`, `spaces`, or the regular expression.
        has_words: whether text is made of words: normalised, cut into pieces that begin or
            continue one, and its lines into sentences. Else a line is a sentence.
    """

    name: str
    has_words: bool = False

    @abstractmethod
    def normalisation(
        self,
        lowercase: bool | None = None,
        strip_accents: bool | None = None,
        split_chinese: bool | None = None,
    ) -> Normalisation:
        """What is done to text before it is split, where None is what nobody asked for.

        Raises:
            UserError: text that stays as it is written is to be changed.
        """

    def left_out(self, text: str) -> str:
        """The characters of a text that belong to no part, white space aside."""
        return ""

    @abstractmethod
    def library(
        self, ids: Mapping[str, int], normalisation: Normalisation, hidden: Iterable[str] = ()
    ) -> tokenizers.Tokenizer:
        """Make the library's tokenizer of a vocabulary.

        Args:
            ids: piece to row.
            normalisation: of words.
            hidden: pieces that no text must give, though they have rows.
        """

    @abstractmethod
    def memo(self, library: tokenizers.Tokenizer, lowercase: bool) -> PieceMemo | WholeTexts:
        """Make what cuts long text fast with such a tokenizer; no added token holds a space."""


@dataclass(frozen=True)
class Words(Splitting):
    """Words, as the published BERT splits text."""

    name: str = "words"
    has_words = True

    def normalisation(
        self,
        lowercase: bool | None = None,
        strip_accents: bool | None = None,
        split_chinese: bool | None = None,
    ) -> Normalisation:
        """See `Splitting`; as the uncased BERT was published."""
        return Normalisation(lowercase is not False, strip_accents, split_chinese is not False)

    def library(
        self, ids: Mapping[str, int], normalisation: Normalisation, hidden: Iterable[str] = ()
    ) -> tokenizers.Tokenizer:
        """See `Splitting`; words never hold the brackets of a hidden piece."""
        library = tokenizers.Tokenizer(
            WordPiece(dict(ids), unk_token=UNKNOWN, max_input_chars_per_word=LONGEST_WORD)
        )
        library.normalizer = normalisation.normalizer()
        library.pre_tokenizer = BertPreTokenizer()
        library.decoder = WordPieceDecoder(prefix="##", cleanup=True)
        return library

    def memo(self, library: tokenizers.Tokenizer, lowercase: bool) -> PieceMemo | WholeTexts:
        """A memo of the chunks between white spaces."""
        return PieceMemo(library, lowercase)


class CutText(Splitting):
    """Text of which every part is one piece, as it is written."""

    @abstractmethod
    def pre_tokenizer(self) -> PreTokenizer:
        """Make what splits a text into its parts."""

    def decoder(self) -> Decoder | None:
        """Make what joins pieces; None joins them by blanks."""
        return None

    def normalisation(
        self,
        lowercase: bool | None = None,
        strip_accents: bool | None = None,
        split_chinese: bool | None = None,
    ) -> Normalisation:
        """See `Splitting`; none."""
        asked = {
            "lowercase": lowercase, "strip_accents": strip_accents, "split_chinese": split_chinese
        }  # fmt: skip
        if wrong := [name for name, value in asked.items() if value]:
            raise UserError(
                f"got {wrong[0]}=True with splitting={self.name!r}, by which text stays as it is"
                " written; expected one of them"
            )
        return AS_WRITTEN

    def library(
        self, ids: Mapping[str, int], normalisation: Normalisation, hidden: Iterable[str] = ()
    ) -> tokenizers.Tokenizer:
        """See `Splitting`; what no text must give stands in the vocabulary under another name."""
        names = {piece: f"\0{piece}" for piece in hidden if piece != UNKNOWN}
        library = tokenizers.Tokenizer(
            WordLevel({names.get(piece, piece): i for piece, i in ids.items()}, UNKNOWN)
        )
        library.pre_tokenizer = self.pre_tokenizer()
        if (decoder := self.decoder()) is not None:
            library.decoder = decoder
        return library

    def memo(self, library: tokenizers.Tokenizer, lowercase: bool) -> PieceMemo | WholeTexts:
        """No memo: a part is looked up once, whatever stands round it."""
        return WholeTexts(library)


@dataclass(frozen=True)
class Spaces(CutText):
    """Parts between white spaces."""

    name: str = "spaces"

    def pre_tokenizer(self) -> PreTokenizer:
        """See `CutText`."""
        return WhitespaceSplit()


@dataclass(frozen=True)
class Matches(CutText):
    """Every match of a regular expression is a part; what lies between matches is left out.

    Expressions are those of Oniguruma, which the library reads; for what they have in common,
    Python's.

    Raises:
        UserError: it is no regular expression.
    """

    name: str

    def __post_init__(self) -> None:
        """Compile it once, to see that it can be."""
        try:
            tokenizers.Regex(self.name)
        except Exception as error:  # the library raises no other kind
            reason = str(error).removeprefix("Oniguruma error: ")
            raise UserError(
                f"got splitting={self.name!r}, which is not a valid regular expression ({reason});"
                " expected"
                " words, spaces or a regular expression"
            ) from None

    def pre_tokenizer(self) -> PreTokenizer:
        """See `CutText`."""
        return Split(tokenizers.Regex(self.name), behavior="removed", invert=True)

    def left_out(self, text: str) -> str:
        """See `Splitting`; what lies between matches.

        >>> Matches("[A-Z][a-z]?").left_out("Na+ Cl-")
        '+-'
        """
        ends = [
            0,
            *(end for _, span in self.pre_tokenizer().pre_tokenize_str(text) for end in span),
        ]
        between = (text[a:b] for a, b in zip(ends[::2], [*ends[1::2], len(text)], strict=True))
        return "".join("".join(between).split())

    def decoder(self) -> Decoder | None:
        """Join pieces without blanks."""
        return Fuse()


WORDS = Words()


def splitting_of(name: str | Splitting) -> Splitting:
    """The splitting that a flag or a file names.

    Args:
        name: `words`, `spaces` or a regular expression; a splitting is returned as it is.

    Raises:
        UserError: not one of them. A bare word is taken to be a typo, not an expression.
    """
    if isinstance(name, Splitting):
        return name
    for known in (WORDS, Spaces()):
        if name == known.name:
            return known
    if not name or name.isalpha():
        raise UserError(
            f"got splitting={name!r}; expected words, spaces or a regular expression such as"
            " [A-Z][a-z]?|."
        )
    return Matches(name)
