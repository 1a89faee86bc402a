"""Which spans of text make a training example: pairs for next sentence prediction, or plain text.

**Plain text** (`plan_sentences`) is what masked LM needs alone: consecutive sentences of a document
until the row is full, one segment. It is DOC-SENTENCES of Liu et al. 2019 (RoBERTa, 4.2), that is
FULL-SENTENCES that do not cross documents. Every piece of the corpus is read once an epoch: a
sentence that is longer than a row goes on in the next instance.

**Pairs** (`plan_instances`) follow `create_instances_from_document` of Devlin et al. 2018
(arXiv:1810.04805, A.2 and the code published with it): gather sentences of a document up to a
target length, cut them at a random sentence into A and B, replace B half of the time by text from
another document (the unused sentences go back and open the next instance), truncate a random end of
the longer part until the pair fits. Four things differ, each because the original gives the label
away or misses its half:

1. A chunk of one sentence is always "random" in the original (54.6 % instead of 50 in all). Here
   the coin decides as everywhere: for "next" the chunk takes the following sentence, or, where the
   document has ended, the preceding one.
2. A document of one sentence has no next sentence, so it stays "random"; for half of these, coins
   elsewhere that fell on "random" are turned, evenly over the corpus, so that the total is 50/50.
   (Where most instances are one-sentence documents there are too few coins to turn.)
3. Random B comes from a document drawn uniformly among those that have enough text (found by
   drawing again, up to 32 times) and starts where enough is left; when A's document ends before
   the target length, B takes as many sentences as the true continuation had. The original takes
   any document from any start and fills up to the target, so that the lengths give the label
   away: on a mixture of novels and dictionary entries at length 512, the best guess from the two
   lengths alone is right 52 % of the time here, 77 % in the original.
4. The short target (`short_sequence_probability`) is drawn anew for each instance, so that 10 % of
   the instances are short; drawn once a document, a single book decides the share.
"""

from dataclasses import dataclass

import numpy as np

from bert_jax.data.compiling import compiled
from bert_jax.data.counter_rng import random_bits, random_index, shuffled, stream_key, substream
from bert_jax.data.documents import Documents
from bert_jax.errors import UserError

SPECIALS_PER_INSTANCE = 3  # [CLS] A [SEP] B [SEP]
_PARTNER_ATTEMPTS = 32
_PLAN_STREAM = 1  # tells this use of (seed, epoch, length) from others
_SENTENCES_STREAM = 4


@dataclass(frozen=True)
class InstancePlan:
    """Instances of one epoch in training order; every array is [n].

    A span is (start, length) in `Documents.pieces`:

    ```
    pieces  7 8 9 4 4 5 6 7 8      a_start 0  a_length 3  b_start 3  b_length 2
            ^A^^^ ^B^              [CLS] 7 8 9 [SEP] 4 4 [SEP]
    ```
    """

    length: int
    """Longest instance in tokens, its special tokens included."""
    a_start: np.ndarray
    """int64 [n], offset of A's first piece."""
    a_length: np.ndarray
    """int32 [n], pieces of A, >= 1."""
    b_start: np.ndarray
    """int64 [n], offset of B's first piece."""
    b_length: np.ndarray
    """int32 [n], pieces of B; 0: there is no B, nor a [SEP] after it."""
    is_random: np.ndarray
    """bool [n], whether B comes from another document."""

    def __len__(self) -> int:
        return len(self.a_start)

    @property
    def total_lengths(self) -> np.ndarray:
        """int32 [n], tokens of each instance with its three special tokens (two without a B)."""
        specials = SPECIALS_PER_INSTANCE - (self.b_length == 0)
        return self.a_length + self.b_length + specials.astype(np.int32)


def plan_instances(
    documents: Documents,
    length: int,
    seed: int,
    epoch: int,
    short_sequence_probability: float = 0.1,
) -> InstancePlan:
    """Plan one pass over `documents`: a pure function of its arguments.

    Args:
      documents: At least two documents with text; empty sentences and documents are skipped.
      length: Longest instance in tokens with [CLS] and two [SEP], >= 5.
      seed: Names the run.
      epoch: Number of the pass; each has its own cuts, coins, partners and order.
      short_sequence_probability: Share of instances gathered up to a random target length
        (2 … length-3) instead of the full one.

    Raises:
      UserError: If there is no other document to take a random B from, or an argument is out of
        range.
    """
    if length < SPECIALS_PER_INSTANCE + 2:
        raise UserError(
            f"got a sequence length of {length}; expected at least 5 "
            "([CLS], one piece, [SEP], one piece, [SEP])"
        )
    short_threshold = _short_threshold(short_sequence_probability)
    sentence_starts, document_starts = _without_empty(documents)
    document_count = len(document_starts) - 1
    if document_count < 2:
        raise UserError(
            f"got {document_count} documents with text; expected at least 2, since half of the "
            "next-sentence pairs take B from another document: give more files, or documents "
            "separated by blank lines"
        )
    key = stream_key(_PLAN_STREAM, seed, epoch, length)
    planned = _plan(
        sentence_starts,
        document_starts,
        length - SPECIALS_PER_INSTANCE,
        short_threshold,
        key,
    )
    order = shuffled(np.uint64(substream(key, 1)), len(planned[0]))
    return InstancePlan(length, *(column[order] for column in planned))


def plan_sentences(
    documents: Documents,
    length: int,
    seed: int,
    epoch: int,
    short_sequence_probability: float = 0.1,
) -> InstancePlan:
    """Plan one pass of plain text, instances without a B: a pure function of its arguments.

    ```
    sentences of 4 3 2 9 pieces, rows of 8     [CLS] 4 [SEP]  [CLS] 3 2 [SEP]  [CLS] 6 … [SEP] …
    ```

    Args:
      documents: At least one document with text; empty sentences and documents are skipped.
      length: Longest instance in tokens with [CLS] and [SEP], >= 5, as for pairs.
      seed: Names the run.
      epoch: Number of the pass; each has its own short targets, hence cuts, and its own order.
      short_sequence_probability: Share of instances filled up to a random target length
        (1 … length-2) instead of the full one; a whole sentence at least.

    Raises:
      UserError: If there is no text, or an argument is out of range.
    """
    if length < SPECIALS_PER_INSTANCE + 2:
        raise UserError(
            f"got a sequence length of {length}; expected at least 5, as for pairs of sentences"
        )
    short_threshold = _short_threshold(short_sequence_probability)
    sentence_starts, document_starts = _without_empty(documents)
    if len(document_starts) < 2:
        raise UserError("got 0 documents with text; expected at least 1")
    key = stream_key(_SENTENCES_STREAM, seed, epoch, length)
    starts, lengths = _plan_sentences(
        sentence_starts, document_starts, length - 2, short_threshold, key
    )
    order = shuffled(np.uint64(substream(key, 1)), len(starts))
    nothing = np.zeros(len(starts), np.int32)
    return InstancePlan(
        length, starts[order], lengths[order], starts[order], nothing, nothing.astype(np.bool_)
    )


def _short_threshold(probability: float) -> np.uint64:
    """Of 32 random bits: below it, an instance is short."""
    if not 0.0 <= probability <= 1.0:
        raise UserError(
            f"got short_sequence_probability={probability}; expected a number from 0 to 1"
        )
    return np.uint64(round(probability * 2**32))


def _without_empty(documents: Documents) -> tuple[np.ndarray, np.ndarray]:
    """Return sentence and document starts with empty sentences and documents left out."""
    starts = np.ascontiguousarray(documents.sentence_starts, dtype=np.int64)
    document_starts = np.ascontiguousarray(documents.document_starts, dtype=np.int64)
    filled = np.diff(starts) > 0
    if not filled.all():
        kept_before = np.concatenate([[0], np.cumsum(filled)])
        starts = np.concatenate([starts[:-1][filled], starts[-1:]])
        document_starts = kept_before[document_starts]
    if (np.diff(document_starts) == 0).any():
        document_starts = np.unique(document_starts)
    # Memory-mapped files are read-only, which is another type to the compiler: one type, one
    # compilation.
    starts, document_starts = starts.view(np.ndarray), document_starts.view(np.ndarray)
    starts.flags.writeable = False
    document_starts.flags.writeable = False
    return starts, document_starts


@compiled
def _plan(sentence_starts, document_starts, max_tokens, short_threshold, key):
    """Plan the instances in document order; return the five columns of `InstancePlan`."""
    capacity = len(sentence_starts) - 1  # every instance uses up at least one sentence
    a_start = np.empty(capacity, np.int64)
    a_length = np.empty(capacity, np.int32)
    b_start = np.empty(capacity, np.int64)
    b_length = np.empty(capacity, np.int32)
    is_random = np.empty(capacity, np.bool_)
    document_count = len(document_starts) - 1
    owed, tokens_left = _owed_next_labels(sentence_starts, document_starts, substream(key, 2))
    tokens_passed, coins_on_random = 0, 0
    n = 0
    for document in range(document_count):
        first, end = document_starts[document], document_starts[document + 1]
        i = first
        while i < end:
            draws = substream(key, n + 3)
            target = max_tokens
            if (random_bits(draws, np.uint64(0)) >> np.uint64(32)) < short_threshold:
                target = 2 + random_index(draws, np.uint64(1), max_tokens - 1)
            j = i
            while j < end and sentence_starts[j] - sentence_starts[i] < target:
                j += 1
            ended = sentence_starts[j] - sentence_starts[i] < target

            random_next = True
            if end - first > 1:
                random_next = random_index(draws, np.uint64(2), 2) == 1
                if random_next:
                    # About the number of coins still to fall on "random": their rate so far,
                    # begun as 16 coins of two full instances each; rather too few, so that
                    # nothing is owed at the end.
                    per_coin = (tokens_passed + 32 * max_tokens) // (coins_on_random + 16)
                    coins_left = max(tokens_left // (per_coin + per_coin // 8), 1)
                    coins_on_random += 1
                    if random_index(draws, np.uint64(3), coins_left) < owed:
                        random_next = False
                        owed -= 1

            split, a_first = i + 1, i
            if j - i > 1:
                split += random_index(draws, np.uint64(4), j - i - 1)
            elif not random_next:
                if j < end:
                    j += 1
                else:
                    a_first, split = i - 1, i
            a_from, a_to = sentence_starts[a_first], sentence_starts[split]
            if random_next:
                b_from, b_to = _random_b(
                    sentence_starts,
                    document_starts,
                    document,
                    max(target - (a_to - a_from), 1),
                    max(j - split, 1) if ended else capacity,
                    draws,
                )
                resume = split
            else:
                b_from, b_to = a_to, sentence_starts[j]
                resume = j
            if end - first > 1:
                tokens_left -= sentence_starts[resume] - sentence_starts[i]
                tokens_passed += sentence_starts[resume] - sentence_starts[i]
            i = resume
            a_from, a_to, b_from, b_to = _truncate(a_from, a_to, b_from, b_to, max_tokens, draws)
            a_start[n], a_length[n] = a_from, a_to - a_from
            b_start[n], b_length[n] = b_from, b_to - b_from
            is_random[n] = random_next
            n += 1
    return a_start[:n], a_length[:n], b_start[:n], b_length[:n], is_random[:n]


@compiled
def _plan_sentences(sentence_starts, document_starts, max_tokens, short_threshold, key):
    """Plan plain text in document order; return start and length of every instance."""
    # Every instance uses up a sentence or is full.
    capacity = len(sentence_starts) + (sentence_starts[-1] - sentence_starts[0]) // max_tokens
    starts = np.empty(capacity, np.int64)
    lengths = np.empty(capacity, np.int32)
    n = 0
    for document in range(len(document_starts) - 1):
        i, end = document_starts[document], document_starts[document + 1]
        start = sentence_starts[i]
        while i < end:  # `start` lies in sentence i
            draws = substream(key, n + 2)
            target = max_tokens
            if (random_bits(draws, np.uint64(0)) >> np.uint64(32)) < short_threshold:
                target = 1 + random_index(draws, np.uint64(1), max_tokens)
            j = i + 1
            while j < end and sentence_starts[j + 1] - start <= target:
                j += 1
            stop = sentence_starts[j]
            if stop - start > max_tokens:  # then it is one sentence
                stop = start + max_tokens
                j = i
            starts[n], lengths[n] = start, stop - start
            n += 1
            i, start = j, stop
    return starts[:n], lengths[:n]


@compiled
def _owed_next_labels(sentence_starts, document_starts, key):
    """Count the one-sentence documents whose coin fell on "next", which they cannot have.

    Also returns the tokens of all other documents, whose coins make up for them.
    """
    owed, tokens = 0, 0
    for document in range(len(document_starts) - 1):
        first, end = document_starts[document], document_starts[document + 1]
        if end - first > 1:
            tokens += sentence_starts[end] - sentence_starts[first]
        elif random_index(key, np.uint64(document), 2) == 1:
            owed += 1
    return owed, tokens


@compiled
def _random_b(sentence_starts, document_starts, document, tokens, sentences, draws):
    """Return the span of a random B: up to `tokens` or `sentences`, whichever comes first."""
    partners = substream(draws, 2)
    first, end, last = 0, 0, 0
    for attempt in range(_PARTNER_ATTEMPTS):
        other = random_index(partners, np.uint64(attempt), len(document_starts) - 2)
        if other >= document:
            other += 1
        first, end = document_starts[other], document_starts[other + 1]
        last = _last_start(sentence_starts, first, end, tokens, sentences)
        if last >= first:
            break
    if last < first:
        last = end - 1  # not enough wherever it starts
    start = first + random_index(draws, np.uint64(5), last - first + 1)
    stop = start
    while (
        stop < end
        and stop - start < sentences
        and sentence_starts[stop] - sentence_starts[start] < tokens
    ):
        stop += 1
    return sentence_starts[start], sentence_starts[stop]


@compiled
def _last_start(sentence_starts, first, end, tokens, sentences):
    """Return the last sentence of first … end-1 with enough text from there on, else first - 1."""
    start = end - 1
    while (
        start >= first
        and end - start < sentences
        and sentence_starts[end] - sentence_starts[start] < tokens
    ):
        start -= 1
    return start


@compiled
def _truncate(a_from, a_to, b_from, b_to, max_tokens, draws):
    """Take tokens one by one from a random end of the longer span (B in a tie) until they fit.

    ```
    a a a a a | b b b, at most 6      A loses one, A loses one; 3 + 3 fit
      a a a   | b b b                 here one at each end
    ```
    """
    excess = (a_to - a_from) + (b_to - b_from) - max_tokens
    if excess <= 0:
        return a_from, a_to, b_from, b_to
    difference = (a_to - a_from) - (b_to - b_from)
    from_longer = min(excess, abs(difference))
    rest = excess - from_longer  # the spans are equal now and lose in turn, B first
    cut_a, cut_b = rest // 2, rest - rest // 2
    if difference > 0:
        cut_a += from_longer
    else:
        cut_b += from_longer
    front_a = _coins(substream(draws, 0), cut_a)
    front_b = _coins(substream(draws, 1), cut_b)
    return a_from + front_a, a_to - (cut_a - front_a), b_from + front_b, b_to - (cut_b - front_b)


@compiled
def _coins(key, count):
    """Return how many of `count` fair coins fall on heads."""
    heads = 0
    for word in range((count + 63) // 64):
        bits = random_bits(key, np.uint64(word))
        if count - 64 * word < 64:
            bits >>= np.uint64(64 - (count - 64 * word))
        while bits:
            bits &= bits - np.uint64(1)
            heads += 1
    return heads
