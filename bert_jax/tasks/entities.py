"""Entities in tagged sentences: how tags mark them, and their F1 as conlleval counts it."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

# Letters of other schemes that say what one of B, I, E, S says: Middle, Last, Unit, Whole.
_ALIKE = {"M": "I", "L": "E", "U": "S", "W": "S"}
_LETTERS = "BIMELSUW"
_NAMES = {"I": "IO", "BI": "BIO", "BIES": "BIOES", "BMES": "BMES", "BILU": "BILOU", "BMEW": "BMEW"}


@dataclass(frozen=True)
class TagScheme:
    """How tags mark entities: a letter for the place in the entity, and perhaps its kind.

        BIO                B-PER I-PER O
        BIOES, kind first  PER_B PER_E O PER_S
        BMES, no kinds     B M E S

    Attributes:
        name: BIO, BIOES, BILOU, …, by the letters that occur.
        separator: between letter and kind; empty where there are no kinds.
        kind_first: whether the kind stands before the letter.
        others: tags that mark nothing and count as O.
    """

    name: str = "BIO"
    separator: str = "-"
    kind_first: bool = False
    others: tuple[str, ...] = ()

    def letter_and_kind(self, tag: str) -> tuple[str, str]:
        """B, I, E, S or O, and the kind; ("O", "") of a tag that marks nothing."""
        if not (found := self._form.fullmatch(tag)):
            return "O", ""
        letter = found["letter"]
        return _ALIKE.get(letter, letter), found.groupdict().get("kind", "")

    def marks(self, tag: str) -> bool:
        """Whether a tag marks a word of an entity."""
        return self._form.fullmatch(tag) is not None

    @cached_property
    def _form(self) -> re.Pattern[str]:
        letter, kind = f"(?P<letter>[{_LETTERS}])", f"{self.separator}(?P<kind>.+)"
        if not self.separator:
            return re.compile(letter)
        return re.compile(
            f"(?P<kind>.+){self.separator}{letter}" if self.kind_first else letter + kind
        )

    def __str__(self) -> str:
        """As in "BIOES (kind_LETTER); X counts as O"."""
        parts = ("kind", "LETTER") if self.kind_first else ("LETTER", "kind")
        form = f" ({self.separator.join(parts)})" if self.separator else " without kinds"
        others = f"; {', '.join(self.others)} as O" if self.others else ""
        return f"{self.name}{form}{others}"


_FORMS = (*(TagScheme("", mark, first) for mark in "-_" for first in (False, True)),
          TagScheme("", ""))  # fmt: skip


def tag_scheme(tags: Iterable[str]) -> TagScheme | None:
    """Find the scheme in which tags mark entities; None where they do not, as parts of speech.

    The form that explains the most tags is taken. A few others, such as X or _, may stand among
    them: no more than those that mark, and fewer where a letter alone is a mark, which might be a
    part of speech as well. Tags that are all letters have a B or an O among them.
    """
    kinds = set(tags)
    form = max(_FORMS, key=lambda form: sum(map(form.marks, kinds)))
    marks = {tag for tag in kinds if form.marks(tag)}
    others = tuple(sorted(kinds - marks - {"O"}))
    letters = {tag[-1] if form.kind_first else tag[0] for tag in marks}
    few = len(others) <= len(marks) if form.separator else len(others) < len(marks)
    whole = "O" in kinds or (bool(letters & set("BIM")) if form.separator else "B" in letters)
    if not marks or not few or not whole or not (form.separator or letters & set("BIM")):
        return None
    name = next((name for known, name in _NAMES.items() if letters <= set(known)), None)
    name = name or "".join(letter for letter in _LETTERS if letter in letters) + "O"
    return replace(form, name=name, others=others)


@dataclass(frozen=True)
class Entity:
    """Words `start` … `end` - 1 of a sentence are one entity of this kind ("" without kinds)."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class F1:
    """Precision, recall and their harmonic mean, and how many entities there truly are."""

    precision: float
    recall: float
    f1: float
    support: int


def entities(tags: Sequence[str], scheme: TagScheme | None = None) -> list[Entity]:
    """Return the entities of one sentence, in order.

        B-per I-per O I-loc I-per      ->  per 0-2, loc 3-4, per 4-5

    A tag that does not go on from the one before begins an entity, whatever its letter, as in
    `conlleval`, the script of the CoNLL shared tasks (Tjong Kim Sang & De Meulder 2003).

    Args:
        tags: of the words.
        scheme: how they mark entities; None is letter-kind, in any of the schemes.
    """
    scheme = scheme or TagScheme()
    found: list[Entity] = []
    start, open_kind, before = 0, None, "O"
    for position, tag in enumerate([*tags, "O"]):
        letter, kind = scheme.letter_and_kind(tag)
        goes_on = letter in "IE" and kind == open_kind and before not in "ES"
        if open_kind is not None and not goes_on:
            found.append(Entity(open_kind, start, position))
            open_kind = None
        if letter != "O" and open_kind is None:
            start, open_kind = position, kind
        before = letter
    return found


def entity_f1(
    predicted: Sequence[Sequence[str]],
    truth: Sequence[Sequence[str]],
    scheme: TagScheme | None = None,
) -> dict[str, F1]:
    """Precision, recall and F1 of whole entities: kind and both ends must agree.

    Args:
        predicted: the tags of each sentence.
        truth: the same, by people.
        scheme: see `entities`.

    Returns:
        "all", over all entities together (micro), then each kind by its name, if there are kinds.
    """
    right: Counter[str] = Counter()
    guessed: Counter[str] = Counter()
    true: Counter[str] = Counter()
    for ours, theirs in zip(predicted, truth, strict=True):
        if len(ours) != len(theirs):
            raise ValueError(f"got {len(ours)} tags for {len(theirs)} words; expected one per word")
        mine, real = set(entities(ours, scheme)), set(entities(theirs, scheme))
        for counter, kept in ((right, mine & real), (guessed, mine), (true, real)):
            counter.update(entity.kind for entity in kept)
    kinds = sorted(filter(None, true.keys() | guessed.keys()))
    totals = {"all": (right.total(), guessed.total(), true.total())}
    totals |= {kind: (right[kind], guessed[kind], true[kind]) for kind in kinds}
    return {name: _f1(*counts) for name, counts in totals.items()}


def _f1(right: int, guessed: int, true: int) -> F1:
    precision, recall = right / max(guessed, 1), right / max(true, 1)
    return F1(precision, recall, 2 * right / max(guessed + true, 1), true)
