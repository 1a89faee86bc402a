"""Where an output layer starts: as the checkpoint has it, or anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from bert_jax.convert.contents import Pretrained
from bert_jax.parameters import Parameters
from bert_jax.tasks.heads import Head

_MOST_NAMES = 10  # of classes, in one line


@dataclass(frozen=True)
class HeadStart:
    """What training starts from.

    Attributes:
        pretrained: the checkpoint with its output layer where that is kept, else without any.
        kept: whether it is.
        said: what became of it, for a person to read.
    """

    pretrained: Pretrained
    kept: bool
    said: str


def head_start(pretrained: Pretrained, head: Head, labels: Sequence[str]) -> HeadStart:
    """Keep the checkpoint's output layer where it is of this kind and has the same classes.

    Classes in another order are put into that of `labels`; nameless ones are taken as they stand.

    Args:
        pretrained: from `load_pretrained`.
        head: what is to be learned.
        labels: its classes; () where it has none.
    """
    bare = {"bert": pretrained.params["bert"]}
    own = {k: v for k, v in pretrained.params.items() if k in ("classifier", "qa_outputs")}
    count = head.count(labels)
    if not own:
        said = "the output layer is new: the checkpoint has none"
        said = said if count else _encoder_said(pretrained)
        return HeadStart(dataclasses.replace(pretrained, params=bare), False, said)
    scores = next(iter(own.values()))["kernel"].shape[1]
    theirs, wanted = _of(pretrained.labels, scores), _of(labels, count)
    named = bool(labels and pretrained.labels)
    reason = ""
    if not head.is_of(pretrained):
        problem = pretrained.problem_type
        reason = pretrained.architecture + (f" with problem_type {problem}" if problem else "")
    elif scores != count or (named and sorted(pretrained.labels) != sorted(labels)):
        reason = theirs
    if reason:
        start = f"the output layer is new, of {wanted}" if count else "there is no output layer"
        said = f"{start}; left out: the checkpoint's, of {reason}"
        return HeadStart(dataclasses.replace(pretrained, params=bare), False, said)
    said = f"the output layer is the checkpoint's, of {theirs}"
    if labels and not pretrained.labels:
        said += f" without names, which are taken for {_few(labels)}"
    elif named and tuple(labels) != pretrained.labels:
        order = [pretrained.labels.index(name) for name in labels]
        own = {name: _reordered(layer, order) for name, layer in own.items()}
        said += f", in the order {_few(labels)}"
    params = {**bare, **own}
    return HeadStart(dataclasses.replace(pretrained, params=params), True, said)


def _encoder_said(pretrained: Pretrained) -> str:
    """What becomes of a model without an output layer, whose mean-pooled vectors are learned."""
    said, before = "there is no output layer: the encoder itself learns", pretrained.sentences
    if before is not None and not before.is_mean:
        said += ", by the mean of its vectors; how it made sentence vectors until now is left out"
    return said


def _reordered(layer: Parameters, order: Sequence[int]) -> Parameters:
    """The classes of a kernel [D, C] and a bias [C] in another order."""
    return {name: array[..., order] for name, array in layer.items()}


def _of(names: Sequence[str], scores: int) -> str:
    if names:
        return f"{len(names)} class{'es' * (len(names) > 1)} ({_few(names)})"
    return f"{scores} score{'s' * (scores > 1)}"


def _few(names: Sequence[str]) -> str:
    more = ", …" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
