"""Small made-up corpora: every test file of the loader draws from here."""

import numpy as np
from hypothesis import strategies as st

from bert_jax.data.documents import Documents


class SmallVocabulary:
    """A vocabulary of V pieces; ids 0 … 4 are [PAD] [UNK] [CLS] [SEP] [MASK]; every third is ##."""

    pad_id, unk_id, cls_id, sep_id, mask_id = range(5)
    special_ids = (0, 1, 2, 3, 4)

    def __init__(self, vocab_size: int = 100) -> None:
        self.vocab_size = vocab_size
        self.is_continuation = np.arange(vocab_size) % 3 == 0
        self.is_continuation[:5] = False


def documents_of(lengths: list[list[int]], vocab_size: int = 100, seed: int = 0) -> Documents:
    """Return documents whose sentences have these lengths, of random ordinary pieces."""
    sentences = [n for document in lengths for n in document]
    sentence_starts = np.concatenate([[0], np.cumsum(sentences)]).astype(np.int64)
    document_starts = np.concatenate([[0], np.cumsum([len(d) for d in lengths])]).astype(np.int64)
    generator = np.random.default_rng(seed)
    pieces = generator.integers(5, vocab_size, sentence_starts[-1]).astype(np.uint16)
    return Documents(pieces, sentence_starts, document_starts)


def random_documents(
    count: int, mean_sentences: float, mean_length: float = 20.0, seed: int = 0
) -> Documents:
    """Return documents with geometric numbers of sentences, and of pieces in each."""
    generator = np.random.default_rng(seed)
    lengths = [
        generator.geometric(1 / mean_length, sentences).tolist()
        for sentences in generator.geometric(1 / mean_sentences, count)
    ]
    return documents_of(lengths, seed=seed)


def document_of(documents: Documents, piece: np.ndarray) -> np.ndarray:
    """Return the number of the document that each piece (an offset) lies in."""
    starts = documents.sentence_starts[documents.document_starts]
    return np.searchsorted(starts, piece, side="right") - 1


def corpora(max_sentence: int = 40) -> st.SearchStrategy[Documents]:
    """Return a strategy for corpora of 2 to 8 documents of 1 to 12 sentences."""
    sentences = st.lists(st.integers(1, max_sentence), min_size=1, max_size=12)
    return st.lists(sentences, min_size=2, max_size=8).map(documents_of)
