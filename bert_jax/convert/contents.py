"""What a checkpoint of any kind holds, in our own terms."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from bert_jax.config import BertConfig
from bert_jax.convert.sentence_encoders import SentenceEncoder
from bert_jax.parameters import Parameters
from bert_jax.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A checkpoint read into memory.

    Attributes:
        config: sizes and choices of the encoder.
        params: numpy arrays in fp32, a nested dict, layers unrolled: `bert` with `embeddings`,
            `encoder` and perhaps `pooler`; then the heads there are: `mlm`, `nsp`, `classifier`,
            `qa_outputs`.
        architecture: Hugging Face's name of the model class, such as `BertForPreTraining`.
        labels: class names of a fine-tuned head in the order of its scores; () if none.
        problem_type: Hugging Face's name for what a sequence classifier
            predicts; None if unknown.
        sentences: how it pools a text into one vector; None if it does not say.
        tokenizer: None where the checkpoint has no vocabulary that can be read.
        origin: where it comes from: a path, or OWNER/NAME@COMMIT of the hub; None: made here.
        task: what fine-tuning remembers of its task (lengths, thresholds, columns), for which only
            our own form has a place; of other forms empty.
        card: its model card (README.md), where it has one.
        notes: what was left out, and what was guessed: for a person to read.
    """

    config: BertConfig
    params: Parameters
    architecture: str
    labels: tuple[str, ...] = ()
    problem_type: str | None = None
    sentences: SentenceEncoder | None = None
    tokenizer: Tokenizer | None = None
    origin: str | None = None
    task: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    card: str | None = None
    notes: tuple[str, ...] = ()

    def without_task(self) -> tuple[str, ...]:
        """The note of a form that has no place for `task`; none where nothing is lost."""
        settings = {k: v for k, v in self.task.get("settings", {}).items() if k != "task"}
        said = ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None)
        return (f"left out: what fine-tuning chose ({said}), kept by our own form alone",) * bool(
            said
        )
