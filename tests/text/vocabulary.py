"""A vocabulary made here, for tests that must not depend on files from elsewhere."""

import string

from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer

WORDS = "the how are you fine and yes thanks mr smith he left one day i like cats dogs"
CONTINUATIONS = ["##s", "##ing", "##ed"]


def small_pieces() -> list[str]:
    """Specials, printable ASCII, some Latin, Greek and Chinese characters, and a few words."""
    letters = string.ascii_letters + string.digits + "éßσςΣı中文字"
    marks = string.punctuation + "“”‘’—–…。！？，"
    singles = list(letters) + list(marks)
    inner = [f"##{letter}" for letter in letters]
    return [
        *SPECIAL_PIECES,
        *singles,
        *inner,
        *(w for w in WORDS.split() if len(w) > 1),
        *CONTINUATIONS,
    ]


def small_tokenizer(**settings) -> Tokenizer:
    pieces = list(dict.fromkeys(small_pieces()))
    return Tokenizer(pieces, **settings)
