"""The class names in a config.json: `id2label`, `label2id`, and the odd forms people give them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Names = tuple[str, ...]


def class_names(content: Mapping[str, Any], count: int) -> tuple[Names, Names]:
    """Names of a classifier's scores, and what there is to say about them.

        {"id2label": {"0": "no", "1": "yes"}}     ->  ("no", "yes")
        {"id2label": ["no", "yes"]}               ->  ("no", "yes")
        {"id2label": {"0": "LABEL_0", "1": …}}    ->  ()

    Args:
        content: of config.json.
        count: how many scores the classifier gives.

    Returns:
        The names, () where there are none but LABEL_0, LABEL_1, …; and notes, such as that keys
        are no numbers. `id2label` is followed before `label2id`, as at Hugging Face.
    """
    by_id, by_name = content.get("id2label"), content.get("label2id")
    other = _by_number(by_name) or ()
    names, notes = _listed(by_id, other)
    if _is_default(names) and other and not _is_default(other):
        names, notes = other, [*notes, "the classes are called as in label2id: id2label has none"]
    elif other and not _is_default(other) and other != names:
        notes.append(
            f"label2id ({', '.join(other)}) contradicts id2label ({', '.join(names)}), which is"
            " followed"
        )
    if _is_default(names):
        return (), tuple(notes)
    if len(names) != count:
        said = f"config.json names {len(names)} classes ({', '.join(names)})"
        return (), (*notes, f"{said} of a classifier with {count} scores: left out")
    counts = Counter(names)
    if twice := [name for name, n in counts.items() if n > 1]:
        names = tuple(f"{n} ({i})" if counts[n] > 1 else n for i, n in enumerate(names))
        notes.append(
            f"several classes are called {', '.join(twice)}; here they are {', '.join(names)}"
        )
    return names, tuple(notes)


def numbered_names(count: int) -> Names:
    """What Hugging Face calls classes that nobody has named.

    >>> numbered_names(2)
    ('LABEL_0', 'LABEL_1')
    """
    return tuple(f"LABEL_{i}" for i in range(count))


def _listed(by_id: Any, other: Names) -> tuple[Names, list[str]]:
    """The names of `id2label`, whatever its form; `other` are those of `label2id`."""
    if isinstance(by_id, list):
        return tuple(map(str, by_id)), []
    if not by_id:
        return (), []
    if not isinstance(by_id, Mapping):
        return (), [f"id2label = {by_id!r} of config.json is not a list of names: left out"]
    try:
        numbers = [int(key) for key in by_id]
    except ValueError:
        numbers = []
    if sorted(numbers) == list(range(len(by_id))):
        return tuple(str(name) for _, name in sorted(zip(numbers, by_id.values(), strict=True))), []
    keys = ", ".join(map(str, by_id))
    if (turned := _by_number(by_id)) is not None:
        return turned, [f"id2label has names ({keys}) where numbers belong: read as label2id"]
    if sorted(other) == sorted(map(str, by_id.values())):
        return other, [f"id2label has the keys {keys} and no numbers: label2id orders its names"]
    names = tuple(map(str, by_id.values()))
    return names, [
        f"id2label has the keys {keys} instead of 0 to {len(names) - 1}: its names are taken in the"
        f" order they stand in, {', '.join(names)}"
    ]


def _by_number(by_name: Any) -> Names | None:
    """{"no": 0, "yes": 1} -> ("no", "yes"); None of anything else."""
    if not isinstance(by_name, Mapping) or not by_name:
        return None
    try:
        numbers = [int(number) for number in by_name.values()]
    except (TypeError, ValueError):
        return None
    if sorted(numbers) != list(range(len(numbers))):
        return None
    return tuple(str(name) for _, name in sorted(zip(numbers, by_name, strict=True)))


def _is_default(names: Sequence[str]) -> bool:
    return tuple(names) == numbered_names(len(names))
