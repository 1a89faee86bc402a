"""How likely a masked LM finds a sentence: its pseudo-log-likelihood, a piece hidden at a time.

    PLL(S) = sum over t of  log P(piece t | S with piece t hidden)

Salazar et al. 2020 (https://arxiv.org/abs/1910.14659), equation 1: in nats, [CLS] and [SEP] are
seen and not scored. What else is hidden with a piece is the form of the score (`ScoreForm`).

Every piece asks of one masked copy of its sentence; copies of many sentences share a batch, sorted
by length, the vocabulary is scored at the one place that is asked about, and a copy that several
ask of is computed once, such as the one in which two sentences differ by what is hidden.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, Self, overload

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.arguments import expect
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.data.row_layout import (
    Sequences,
    close_lengths,
    lay_out,
    sorted_rows,
    windows,
)
from bert_jax.errors import UserError
from bert_jax.inference.masked_lm import MaskedLM, check_finite
from bert_jax.parameters import merge_model


@dataclasses.dataclass(frozen=True)
class ScoreForm:
    """Which pieces are hidden while one of them is scored: itself, and some that come later.

        a sentence                un ##believ ##able !       hidden while un is scored
        ORIGINAL                  1  2        3      4       un
        WITHIN_WORD_L2R           3  3        3      4       un ##believ ##able

    Attributes:
        name: as it is called in the literature's code.
        hidden_until: from whether each piece continues a word, bool [n], to the place behind the
            last one that is hidden while it is scored, int [n].
    """

    name: str
    hidden_until: Callable[[np.ndarray], np.ndarray]


def _itself(continues: np.ndarray) -> np.ndarray:
    return np.arange(1, len(continues) + 1)


def _end_of_word(continues: np.ndarray) -> np.ndarray:
    begins = np.append(np.flatnonzero(~continues), len(continues))
    return begins[np.searchsorted(begins, np.arange(len(continues)), side="right")]


ORIGINAL = ScoreForm("original", _itself)
"""As published by Salazar et al.: the piece alone. Words of several pieces gain by it, since each
piece is guessed from the others."""

WITHIN_WORD_L2R = ScoreForm("within_word_l2r", _end_of_word)
"""The piece and the later ones of its word, so that words are read left to right: Kauf & Ivanova
2023 (https://arxiv.org/abs/2305.10588)."""

SCORE_FORMS = {form.name: form for form in (ORIGINAL, WITHIN_WORD_L2R)}


@dataclasses.dataclass(frozen=True)
class SentenceScore:
    """The score of one sentence, and of each of its pieces.

    Attributes:
        text: as given.
        tokens: its pieces, without [CLS] and [SEP].
        token_scores: of each, the logarithm of its probability: nats, at most 0.
        error: why there are none, of a text that cannot be scored; else empty.
    """

    text: str
    tokens: tuple[str, ...] = ()
    token_scores: tuple[float, ...] = ()
    error: str = ""

    @property
    def score(self) -> float:
        """The pseudo-log-likelihood, the sum of `token_scores`."""
        return math.fsum(self.token_scores)


def pseudo_perplexity(scores: Iterable[SentenceScore]) -> float:
    """exp(-(sum of the scores of all sentences) / (number of their pieces)).

    Salazar et al. 2020, equation 3; [CLS] and [SEP] are not counted. NaN where no piece was scored,
    infinity where it is more than a float holds.

        >>> pseudo_perplexity([SentenceScore("a b", ("a", "b"), (-1.0, -3.0))])
        7.38905609893065
    """
    total, pieces = 0.0, 0
    for each in scores:
        total, pieces = total + each.score, pieces + len(each.tokens)
    if not pieces:
        return math.nan
    try:
        return math.exp(-total / pieces)
    except OverflowError:  # more than 709 nats a piece
        return math.inf


class SentenceScorer:
    """Scores sentences with one model, in batches.

        scorer = SentenceScorer.from_pretrained("runs/pretrain", WITHIN_WORD_L2R)
        scorer("The cats sleep.").score

    A score does not depend on what else is scored, except for rounding: in float32 a few parts in a
    million.

    Args:
        pretrained: a checkpoint with a masked-LM head and a vocabulary.
        form: which pieces are hidden together.
        batch_size: B, masked copies that the model reads at a time.
        dtype: what the model computes in.

    Raises:
        UserError: the checkpoint has no masked-LM head or no vocabulary.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        form: ScoreForm = ORIGINAL,
        *,
        batch_size: int = 64,
        dtype: Any = jnp.float32,
    ):
        self.form = expect("form", form, ScoreForm, "ORIGINAL, WITHIN_WORD_L2R or another form")
        self._model = MaskedLM.of(pretrained, batch_size, dtype)
        self.tokenizer = self._model.tokenizer
        self._batch_size = batch_size
        self._lengths = close_lengths(self._model.positions)
        self._log_chances = jax.jit(partial(_log_chances, self._model.definition))

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        form: ScoreForm = ORIGINAL,
        *,
        splitting: str | None = None,
        **options: Any,
    ) -> Self:
        """Make one from a run's workdir, or whatever `load_pretrained` takes."""
        return cls(load_pretrained(source, splitting=splitting), form, **options)

    @overload
    def __call__(self, texts: str) -> SentenceScore: ...
    @overload
    def __call__(self, texts: list[str] | tuple[str, ...]) -> list[SentenceScore]: ...

    def __call__(
        self, texts: str | list[str] | tuple[str, ...]
    ) -> SentenceScore | list[SentenceScore]:
        """Score a sentence, or each of several; errors as for `score`."""
        if isinstance(texts, str):
            return next(self.score([texts]))
        return list(self.score(texts))

    def score(
        self, texts: Iterable[str], on_error: Literal["stop", "mark"] = "stop"
    ) -> Iterator[SentenceScore]:
        """Score each sentence; streams, in order, some thousand masked copies at a time.

        Args:
            texts: one by one.
            on_error: what happens to a text without a piece, or with more than the model has
                positions: "stop" raises, "mark" gives a `SentenceScore` that says so.

        Raises:
            UserError: such a text; says which, counted from 1. Texts before it have been given.
        """
        expect("texts", texts, Iterable, "a text, or a list of them")
        sentences = map(self.read, texts)
        scores = (
            found
            for window in windows(sentences, self._batch_size, lambda s: len(s.ids))
            for found in self._score_window(window)
        )
        for number, found in enumerate(scores, 1):
            if found.error and on_error == "stop":
                raise UserError(f"text {number}: {found.error}")
            yield found

    def read(self, text: str) -> Sentence:
        """Cut a text into pieces; where it cannot be scored, say why."""
        ids = self.tokenizer.encode(text).ids
        error = self._model.why_too_long(len(ids))
        if len(ids) == 2:
            error = f"got {text!r}, of which no piece is left; expected a text with a word"
        return Sentence(text, np.array([] if error else ids[1:-1], np.int32), error)

    def _score_window(self, sentences: list[Sentence]) -> Sequence[SentenceScore]:
        asked = _Asked.of([sentence.ids for sentence in sentences], self.tokenizer, self.form)
        found = np.zeros(asked.targets.shape, np.float32)
        for rows in sorted_rows(asked.copies, self._batch_size, self._lengths):
            batch = lay_out(asked.copies, rows, self.tokenizer.pad_id)
            most = _power_of_two(int(asked.counts[rows.texts].max()))
            places = np.zeros(self._batch_size, np.int32)
            targets = np.zeros((self._batch_size, most), np.int32)
            places[: len(rows.texts)] = asked.places[rows.texts]
            targets[: len(rows.texts)] = asked.targets[rows.texts, :most]
            log_chances = jax.device_get(
                self._log_chances(
                    self._model.params,
                    batch["input_ids"],
                    batch["token_type_ids"],
                    batch["instance_ids"] > 0,
                    places,
                    targets,
                )
            )
            found[rows.texts, :most] = log_chances[: len(rows.texts)]
        check_finite(found)
        scores = found[asked.copy_of, asked.slot_of].tolist()
        pieces, results, begin = self.tokenizer.pieces, [], 0
        for sentence in sentences:
            end = begin + len(sentence.ids)
            tokens = tuple(pieces[i] for i in sentence.ids)
            results.append(
                SentenceScore(sentence.text, tokens, tuple(scores[begin:end]), sentence.error)
            )
            begin = end
        return results


@dataclasses.dataclass(frozen=True)
class Sentence:
    """A text and its pieces, int32 [n] without [CLS] and [SEP]; none where it cannot be scored."""

    text: str
    ids: np.ndarray
    error: str


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What sentences ask of the model: masked copies, each once, and at one place each.

    ```
    the cat sleeps        copies                place    targets
    the cat sleep         [CLS] M cat sleeps    1        the
                          [CLS] the M sleeps    2        cat
                          [CLS] the cat M       3        sleep sleeps      both ask of it
                          [CLS] M cat sleep     1        the
                          [CLS] the M sleep     2        cat
    ```

    Attributes:
        copies: C token sequences.
        places: where each is looked at, int32 [C].
        targets: the pieces asked for there, int32 [C, T], first those that there are.
        counts: how many there are, int [C].
        copy_of, slot_of: where in `targets` each piece of each sentence is, int [pieces].
    """

    copies: Sequences
    places: np.ndarray
    targets: np.ndarray
    counts: np.ndarray
    copy_of: np.ndarray
    slot_of: np.ndarray

    @classmethod
    def of(cls, sentences: Sequence[np.ndarray], tokenizer: Any, form: ScoreForm) -> _Asked:
        numbers: dict[tuple[int, bytes], int] = {}
        copy_of: list[int] = []
        for ids in sentences:
            until = form.hidden_until(tokenizer.is_continuation[ids])
            framed = np.concatenate([[tokenizer.cls_id], ids, [tokenizer.sep_id]]).astype(np.int32)
            place, column = np.arange(1, len(ids) + 1)[:, None], np.arange(len(framed))[None]
            hidden = (place <= column) & (column <= until[:, None])
            for i, row in enumerate(np.where(hidden, np.int32(tokenizer.mask_id), framed), 1):
                copy_of.append(numbers.setdefault((i, row.tobytes()), len(numbers)))
        rows = [np.frombuffer(row, np.int32) for _, row in numbers]
        targets_of = np.concatenate([np.zeros(0, np.int64), *sentences])
        pairs, pair_of = np.unique(
            np.array(copy_of, np.int64) * len(tokenizer) + targets_of, return_inverse=True
        )
        copies, pieces = np.divmod(pairs, len(tokenizer))
        counts = np.bincount(copies, minlength=len(rows))
        slots = np.arange(len(pairs)) - np.searchsorted(copies, copies)
        targets = np.zeros((len(rows), _power_of_two(int(counts.max(initial=1)))), np.int32)
        targets[copies, slots] = pieces
        return cls(
            copies=Sequences(
                ids=np.concatenate([np.zeros(0, np.int32), *rows]),
                type_ids=np.zeros(sum(map(len, rows)), np.int8),
                starts=np.cumsum([0, *map(len, rows)], dtype=np.int64),
            ),
            places=np.array([place for place, _ in numbers], np.int32),
            targets=targets,
            counts=counts,
            copy_of=copies[pair_of],
            slot_of=slots[pair_of],
        )


def _power_of_two(least: int) -> int:
    """The next power of two, so that few shapes are compiled."""
    return 1 << (least - 1).bit_length()


def _log_chances(
    definition: Any,
    params: Any,
    ids: jax.Array,
    types: jax.Array,
    real: jax.Array,
    places: jax.Array,
    targets: jax.Array,
) -> jax.Array:
    """Log-probabilities [B, T], in fp32, of the target pieces at one place a row."""
    model = merge_model(definition, params)
    logits = model(ids, types, real, masked_positions=places[:, None]).logits[:, 0]
    of_all = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    return jnp.take_along_axis(logits, targets, axis=-1) - of_all
