"""What labels the examples have, before any is learned: counted, shown, and left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_jax.errors import UserError
from bert_jax.tasks.examples import Remark
from bert_jax.tasks.labels import label_key

if TYPE_CHECKING:
    from bert_jax.tasks.task import Task
    from bert_jax.tasks.texts import TextExample, TextTask

Counts = dict[str, dict[str, int]]
"""By part, how often each label occurs."""

_MOST_ROWS = 20
_MOST_SPELLED = 5


def label_counts(task: Task, parts: Mapping[str, Sequence[Any]]) -> Counts:
    """How often each class occurs in each part; {} where the task has no classes."""
    if not task.labels:
        return {}
    found = {part: Counter(task.given_labels(examples)) for part, examples in parts.items()}
    return {part: {name: counts[name] for name in task.labels} for part, counts in found.items()}


def without_labels(
    kind: type[TextTask], parts: Mapping[str, Sequence[TextExample]], names: Iterable[Any]
) -> tuple[dict[str, list[TextExample]], list[Remark]]:
    """Leave out the examples that have one of these labels.

    Args:
        kind: of task.
        parts: the examples by part.
        names: of labels.

    Returns:
        The other examples, and how many were left out by which label (`left_out`).

    Raises:
        UserError: no example of a part is left.
    """
    keys = {label_key(name): str(name).strip() for name in names}
    left_out = {part: dict.fromkeys(keys.values(), 0) for part in parts}
    kept: dict[str, list[TextExample]] = {}
    for part, examples in parts.items():
        kept[part] = []
        for example in examples:
            found = [key for key in map(label_key, kind.label_values(example)) if key in keys]
            if found:
                left_out[part][keys[found[0]]] += 1
            else:
                kept[part].append(example)
        if not kept[part]:
            raise UserError(
                f"got leave_out_labels={','.join(keys.values())}, which leaves no example of"
                f" `{part}`; expected some of other labels"
            )
    by_label = {
        name: ", ".join(f"{of[name]} of {part}" for part, of in left_out.items())
        for name in keys.values()
    }
    said = "; ".join(f"{name or repr(name)} ({counts})" for name, counts in by_label.items())
    return kept, [Remark(f"left out, by label: {said}", {"left_out": left_out})]


def taken_together(kind: type[TextTask], examples: Iterable[TextExample]) -> list[Remark]:
    """What to say of labels that are spelled in several ways; nothing where none is.

    treated as one label: "yes" (5), " yes" (1); 1 (3), 1.0 (2)
    """
    spelled: dict[str | None, Counter[str]] = {}
    for example in examples:
        for value in kind.label_values(example):
            plain = value.item() if isinstance(value, np.generic) else value
            spelling = json.dumps(plain, ensure_ascii=False)
            spelled.setdefault(label_key(value), Counter())[spelling] += 1
    several = [counts for counts in spelled.values() if len(counts) > 1]
    if not several:
        return []
    said = "; ".join(
        ", ".join(f"{spelling} ({n})" for spelling, n in counts.most_common())
        for counts in several[:_MOST_SPELLED]
    )
    more = f"; and {len(several) - _MOST_SPELLED} more" if len(several) > _MOST_SPELLED else ""
    spellings = [dict(counts.most_common()) for counts in several]
    return [Remark(f"treated as one label: {said}{more}", {"taken_together": spellings})]


def alike_in_letters(counts: Counts) -> list[Remark]:
    """What to say of classes that differ only in capitals; nothing where none do.

    classes of their own that differ only in capitals: Yes (3), yes (5)
    """
    total = sum(map(Counter, counts.values()), Counter[str]())
    found: dict[str, dict[str, int]] = {}
    for name, n in total.items():
        found.setdefault(name.casefold(), {})[name] = n
    alike = [names for names in found.values() if len(names) > 1]
    if not alike:
        return []
    said = "; ".join(
        ", ".join(f"{name} ({n})" for name, n in names.items()) for names in alike[:_MOST_SPELLED]
    )
    more = f"; and {len(alike) - _MOST_SPELLED} more" if len(alike) > _MOST_SPELLED else ""
    said = f"classes of their own that differ only in capitals: {said}{more}"
    return [Remark(said, {"differ_in_capitals": alike})]


def shown_counts(counts: Counts) -> list[str]:
    """A table for a terminal, a class a line; of many classes those that training has most of.

    label  train  dev
    no        50   10
    yes       46   14
    """
    if not counts:
        return []
    first = next(iter(counts.values()))
    names = list(first)
    if len(names) > _MOST_ROWS:
        names = sorted(names, key=lambda name: -first[name])[:_MOST_ROWS]
    rows = [[name, *(str(of[name]) for of in counts.values())] for name in names]
    rows.insert(0, ["label", *counts])
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(wide[0]), *map(str.rjust, row[1:], wide[1:])]) for row in rows]
    more = len(first) - len(names)
    return [*lines, f"and {more} more labels"] if more else lines
