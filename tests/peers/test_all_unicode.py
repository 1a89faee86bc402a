"""Every character of Unicode, against the published tokenizer as transformers keeps it in Python.

Both Hugging Face's library, with which we split text, and Python have tables of Unicode, of
different ages: what was a character already in Unicode 3.2, of the kind it has now, must be split
alike (232,504 characters; of the 49,726 others 580 are not, uncased). Python's cased tokenizer also
composes accents first (NFC), which neither Google's nor the library does; here both get the result.
"""

import itertools
import sys
import unicodedata

import pytest

legacy = pytest.importorskip(
    "transformers.models.bert.tokenization_bert_legacy", reason="needs transformers"
)

from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer  # noqa: E402


def is_settled(character):
    kind = unicodedata.category(character)
    return kind not in ("Cn", "Cs") and unicodedata.ucd_3_2_0.category(character) == kind


SETTLED = list(filter(is_settled, map(chr, range(sys.maxunicode + 1))))
KINDS = {}
for one in SETTLED:
    KINDS.setdefault((unicodedata.category(one), unicodedata.bidirectional(one)), one)


def split_alike(lowercase):
    """A function that compares how a text is split."""
    library = Tokenizer(SPECIAL_PIECES, lowercase=lowercase)._library
    theirs = legacy.BasicTokenizer(do_lower_case=lowercase)

    def compare(text):
        given = text if lowercase else unicodedata.normalize("NFC", text)
        normal = library.normalizer.normalize_str(given)
        words = [word for word, _ in library.pre_tokenizer.pre_tokenize_str(normal)]
        assert words == theirs.tokenize(text), [hex(ord(c)) for c in text]

    return compare


@pytest.mark.parametrize("lowercase", [True, False])
def test_alone_and_between_letters(lowercase):
    compare = split_alike(lowercase)
    for character in SETTLED:
        compare(character)
        compare(f"a{character}B")


@pytest.mark.parametrize("lowercase", [True, False])
def test_pairs_of_every_two_kinds(lowercase):
    compare = split_alike(lowercase)
    assert len(KINDS) > 40
    for pair in itertools.product(KINDS.values(), repeat=2):
        compare("".join(pair))
        compare("x".join(pair))
