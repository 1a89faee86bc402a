"""Pieces of long text, fast: every chunk between white spaces is cut once and remembered."""

import re
from array import array

import tokenizers

# White space to Python's `split`, but control characters to BERT, which drops them: "a\x0bb" is
# the one word "ab". On every other character the two agree on what is white space.
_DROPPED = "\x0b\x0c\x1c\x1d\x1e\x1f\x85"
_DROP = {ord(character): None for character in _DROPPED}

# Chunks whose basic tokenisation is plain: ASCII letters and digits are words, each of these marks
# is a word alone, and neither accents nor Chinese nor control characters are in it.
_MARKS = r"[!-/:-@\[-`{-~“”‘’—–…]"
_PLAIN = re.compile(rf"(?:[A-Za-z0-9]|{_MARKS})+")
_WORDS = re.compile(rf"[A-Za-z0-9]+|{_MARKS}")

_LONGEST_KEPT = 64  # characters; longer chunks hardly come again
_MOST_KEPT = 1 << 19  # chunks; about 100 MB


class PieceMemo(dict[str, bytes]):
    """Chunk of text → its pieces as the bytes of an int32 array.

    Why chunks can be cut apart: BERT turns every white space into a space and splits words there;
    its normalisation looks at one character at a time, apart from canonical ordering of combining
    marks, which never moves a mark across a space. So the pieces of a text are the pieces of its
    chunks, one after the other.

        "Hello, hello world"  ->  "Hello,"  "hello"  "world"
                                   7592 1010  7592   2088

    It forgets everything when it holds 2¹⁹ chunks, so its memory is bounded.
    """

    def __init__(self, library: tokenizers.Tokenizer, lowercase: bool):
        """Make an empty memo.

        Args:
            library: the encoder with no special pieces in it; tokens that were added to it have no
                white space in them (`WholeTexts` is for those).
            lowercase: whether that encoder lowercases.
        """
        super().__init__()
        self._library = library
        self._model = library.model
        self._lowercase = lowercase
        self._has_added = bool(library.get_added_tokens_decoder())

    def pieces(self, text: str) -> bytes:
        """Return the pieces of `text` as the bytes of an int32 array [n]."""
        for character in _DROPPED:
            if character in text:
                if self._has_added:  # what is dropped may part an added token, as in "[E\x0b1]"
                    return WholeTexts(self._library).pieces(text)
                text = text.translate(_DROP)
                break
        return b"".join(map(self.__getitem__, text.split()))

    def __missing__(self, chunk: str) -> bytes:
        if not self._has_added and _PLAIN.fullmatch(chunk):
            plain = chunk.lower() if self._lowercase else chunk
            words = _WORDS.findall(plain)
            if len(words) > 1 or plain != chunk:
                pieces = b"".join(map(self.__getitem__, words))
            else:
                pieces = array("i", [token.id for token in self._model.tokenize(plain)]).tobytes()
        else:
            ids = self._library.encode(chunk, add_special_tokens=False).ids
            pieces = array("i", ids).tobytes()
        if len(chunk) <= _LONGEST_KEPT:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[chunk] = pieces
        return pieces


class WholeTexts:
    """Cuts every text as a whole, where chunks cannot be cut apart from each other."""

    def __init__(self, library: tokenizers.Tokenizer):
        """Take the encoder with no special pieces in it."""
        self._library = library

    def pieces(self, text: str) -> bytes:
        """Return the pieces of `text` as the bytes of an int32 array [n]."""
        return array("i", self._library.encode(text, add_special_tokens=False).ids).tobytes()
