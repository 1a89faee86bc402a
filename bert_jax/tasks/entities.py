"""Entities in tagged sentences, and their F1 as the CoNLL-2003 evaluation counts it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_STARTS, _ENDS = "BSU", "ESLU"  # of BIO, of BIOES, and of BILOU, its other spelling
_PREFIXES = "BIESLU"


@dataclass(frozen=True)
class Entity:
    """Words `start` … `end` - 1 of a sentence are one entity of this kind."""

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


def has_entities(tags: Iterable[str]) -> bool:
    """Whether these tags mark entities (B-person, I-person, O) and not, say, parts of speech."""
    kinds = set(tags)
    return "O" in kinds and all(
        tag == "O" or (len(tag) > 2 and tag[0] in _PREFIXES and tag[1] == "-") for tag in kinds
    )


def entities(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of one sentence, in order, tagged in BIO, BIOES or BILOU.

        B-per I-per O I-loc I-per      ->  per 0-2, loc 3-4, per 4-5

    A tag that does not go on from the one before begins an entity, whatever its prefix, as in
    `conlleval`, the script of the CoNLL shared tasks (Tjong Kim Sang & De Meulder 2003).
    """
    found: list[Entity] = []
    start, open_kind, before = 0, "", "O"
    for position, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        goes_on = (
            open_kind and prefix not in ("O", *_STARTS) and kind == open_kind
        ) and before not in _ENDS
        if open_kind and not goes_on:
            found.append(Entity(open_kind, start, position))
            open_kind = ""
        if prefix != "O" and not open_kind:
            start, open_kind = position, kind
        before = prefix
    return found


def entity_f1(predicted: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> dict[str, F1]:
    """Precision, recall and F1 of whole entities: kind and both ends must agree.

    Args:
        predicted: the tags of each sentence.
        truth: the same, by people.

    Returns:
        "all", over all entities together (micro), then each kind by its name.
    """
    right: Counter[str] = Counter()
    guessed: Counter[str] = Counter()
    true: Counter[str] = Counter()
    for ours, theirs in zip(predicted, truth, strict=True):
        if len(ours) != len(theirs):
            raise ValueError(f"got {len(ours)} tags for {len(theirs)} words; expected one a word")
        mine, real = set(entities(ours)), set(entities(theirs))
        for counter, kept in ((right, mine & real), (guessed, mine), (true, real)):
            counter.update(entity.kind for entity in kept)
    kinds = sorted(true.keys() | guessed.keys())
    totals = {"all": (right.total(), guessed.total(), true.total())}
    totals |= {kind: (right[kind], guessed[kind], true[kind]) for kind in kinds}
    return {name: _f1(*counts) for name, counts in totals.items()}


def _f1(right: int, guessed: int, true: int) -> F1:
    precision, recall = right / max(guessed, 1), right / max(true, 1)
    return F1(precision, recall, 2 * right / max(guessed + true, 1), true)
