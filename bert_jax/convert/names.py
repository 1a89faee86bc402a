"""The table of conversion: what each weight is called here, at Hugging Face, Google and in Flax.

`{i}` stands for the number of an encoder layer. Kernels are [in, out] here, at Google and in the
Flax models that transformers had up to version 4; [out, in] in those of torch. Google keeps the
weights of its small heads [out, in] and names those of fine-tuned models after no module at all.
Where a model is tied, the decoder is the token table and has no weight of its own.

Shapes are ours, in the alphabet of the project: D width, F feed-forward, V vocabulary, S segment
kinds, L positions, 2 two, C as many classes as there are.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

Scheme = Literal["huggingface", "google", "flax"]


@dataclasses.dataclass(frozen=True)
class Weight:
    """One row: the names of one weight, and where it lies transposed."""

    ours: str
    huggingface: str
    google: str | None  # None: Google's code has no such weight
    shape: str
    transposed: tuple[Scheme, ...] = ()

    def name(self, scheme: Scheme) -> str | None:
        """What `scheme` calls it."""
        names = {"huggingface": self.huggingface, "google": self.google, "flax": self.flax}
        return names[scheme]

    @property
    def flax(self) -> str:
        """Hugging Face's own with slashes, and a word for each kind of weight."""
        module, dot, last = self.huggingface.rpartition(".")
        if last == "weight":
            kind = self.ours.rpartition("/")[2]
            last = {"table": "embedding", "scale": "scale"}.get(kind, "kernel")
        return f"{module}{dot}{last}".replace(".", "/")


_BOTH: tuple[Scheme, ...] = ("huggingface", "google")


def _dense(ours: str, huggingface: str, google: str, shape: str) -> tuple[Weight, Weight]:
    kernel, bias = f"{google}/kernel", f"{google}/bias"
    return (
        Weight(f"{ours}/kernel", f"{huggingface}.weight", kernel, shape, ("huggingface",)),
        Weight(f"{ours}/bias", f"{huggingface}.bias", bias, shape[1]),
    )


def _norm(ours: str, huggingface: str, google: str) -> tuple[Weight, Weight]:
    gamma, beta = f"{google}/LayerNorm/gamma", f"{google}/LayerNorm/beta"
    return (
        Weight(f"{ours}/scale", f"{huggingface}.LayerNorm.weight", gamma, "D"),
        Weight(f"{ours}/bias", f"{huggingface}.LayerNorm.bias", beta, "D"),
    )


def _small_head(ours: str, huggingface: str, google: str, shape: str) -> tuple[Weight, Weight]:
    """A head whose weight Google keeps as `output_weights` [out, in]."""
    weights, bias, both = f"{google}output_weights", f"{google}output_bias", _BOTH
    return (
        Weight(f"{ours}/kernel", f"{huggingface}.weight", weights, shape, both),
        Weight(f"{ours}/bias", f"{huggingface}.bias", bias, shape[1]),
    )


_EMBEDDINGS = (
    Weight(
        "bert/embeddings/token/table",
        "bert.embeddings.word_embeddings.weight",
        "bert/embeddings/word_embeddings",
        "VD",
    ),
    Weight(
        "bert/embeddings/segment/table",
        "bert.embeddings.token_type_embeddings.weight",
        "bert/embeddings/token_type_embeddings",
        "SD",
    ),
    Weight(
        "bert/embeddings/position/table",
        "bert.embeddings.position_embeddings.weight",
        "bert/embeddings/position_embeddings",
        "LD",
    ),
    *_norm("bert/embeddings/norm", "bert.embeddings", "bert/embeddings"),
)

_LAYER, _HF_LAYER, _GOOGLE_LAYER = (
    "bert/encoder/layers/{i}",
    "bert.encoder.layer.{i}",
    "bert/encoder/layer_{i}",
)
_ENCODER = (
    *(
        weight
        for part in ("query", "key", "value")
        for weight in _dense(
            f"{_LAYER}/attention/{part}",
            f"{_HF_LAYER}.attention.self.{part}",
            f"{_GOOGLE_LAYER}/attention/self/{part}",
            "DD",
        )
    ),
    *_dense(
        f"{_LAYER}/attention/output",
        f"{_HF_LAYER}.attention.output.dense",
        f"{_GOOGLE_LAYER}/attention/output/dense",
        "DD",
    ),
    *_norm(
        f"{_LAYER}/attention_norm",
        f"{_HF_LAYER}.attention.output",
        f"{_GOOGLE_LAYER}/attention/output",
    ),
    *_dense(
        f"{_LAYER}/feed_forward/up",
        f"{_HF_LAYER}.intermediate.dense",
        f"{_GOOGLE_LAYER}/intermediate/dense",
        "DF",
    ),
    *_dense(
        f"{_LAYER}/feed_forward/down",
        f"{_HF_LAYER}.output.dense",
        f"{_GOOGLE_LAYER}/output/dense",
        "FD",
    ),
    *_norm(f"{_LAYER}/feed_forward_norm", f"{_HF_LAYER}.output", f"{_GOOGLE_LAYER}/output"),
)

_HEADS = (
    *_dense("bert/pooler/dense", "bert.pooler.dense", "bert/pooler/dense", "DD"),
    *_dense(
        "mlm/transform",
        "cls.predictions.transform.dense",
        "cls/predictions/transform/dense",
        "DD",
    ),
    *_norm("mlm/norm", "cls.predictions.transform", "cls/predictions/transform"),
    Weight("mlm/bias", "cls.predictions.bias", "cls/predictions/output_bias", "V"),
    Weight("mlm/decoder", "cls.predictions.decoder.weight", None, "VD", ("flax",)),
    *_small_head("nsp/dense", "cls.seq_relationship", "cls/seq_relationship/", "D2"),
    *_small_head("classifier", "classifier", "", "DC"),
    *_small_head("qa_outputs", "qa_outputs", "cls/squad/", "D2"),
)

WEIGHTS: tuple[Weight, ...] = (*_EMBEDDINGS, *_ENCODER, *_HEADS)

# A second name of mlm/bias at Hugging Face; in an untied model it is the one that is computed with.
DECODER_BIAS = "cls.predictions.decoder.bias"

# What stands before names: DataParallel, torch.compile, sentence-transformers, a trainer's `model`.
_WRAPPERS = re.compile(r"^((module|_orig_mod|0|auto_model|model)\.)+")

# Found in files beside the weights; they hold nothing that was learned.
BUFFERS = re.compile(r"(.*\.)?embeddings\.(position_ids|token_type_ids)")
OPTIMIZER_SLOTS = re.compile(
    r".*/(adam_[mv]|Adam(_1)?|m|v)|(global_step|beta[12]_power|good_steps|loss_scale|bad_steps)"
)


def find(name: str, scheme: Scheme) -> tuple[Weight, str] | None:
    """The row of what `scheme` calls `name`, and our name of it with the layer's number.

    Google's own names must be met exactly. Of the others', the prefix `bert` may be absent (a bare
    `BertModel`), the names of what the model was wrapped in may stand before everything, and
    LayerNorm's weights may be called `gamma` and `beta` (files from before 2019).

        encoder.layer.3.output.LayerNorm.gamma  ->  bert/encoder/layers/3/feed_forward_norm/scale
    """
    if scheme == "huggingface":
        name = unwrapped(name)
        name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))
        if name.startswith(("embeddings.", "encoder.", "pooler.")):
            name = f"bert.{name}"
    elif scheme == "flax":
        name = name.removeprefix("params/")
        if name.startswith(("embeddings/", "encoder/", "pooler/")):
            name = f"bert/{name}"
    number = re.search(r"(?<=[._/])\d+(?=[./])", name)
    general = name if number is None else f"{name[: number.start()]}{{i}}{name[number.end() :]}"
    row = _BY_NAME[scheme].get(general)
    if row is None:
        return None
    return row, row.ours if number is None else row.ours.replace("{i}", number[0])


def unwrapped(name: str) -> str:
    """Hugging Face's name without what `DataParallel`, `torch.compile` and others put before it.

    >>> unwrapped("module._orig_mod.bert.pooler.dense.bias"), unwrapped("0.auto_model.pooler.bias")
    ('bert.pooler.dense.bias', 'pooler.bias')
    """
    return _WRAPPERS.sub("", name)


def their_name(ours: str, scheme: Scheme) -> tuple[Weight, str | None]:
    """The row of our weight `ours`, and what `scheme` calls it; None where it has no such weight.

    Raises:
        KeyError: we have no such weight.
    """
    number = re.search(r"(?<=layers/)\d+", ours)
    general = ours if number is None else ours.replace(f"layers/{number[0]}", "layers/{i}")
    row = _BY_OURS[general]
    name = row.name(scheme)
    if name is not None and number is not None:
        name = name.replace("{i}", number[0])
    return row, name


_BY_OURS = {row.ours: row for row in WEIGHTS}
_BY_NAME: dict[Scheme, dict[str, Weight]] = {
    "huggingface": {row.huggingface: row for row in WEIGHTS},
    "google": {row.google: row for row in WEIGHTS if row.google is not None},
    "flax": {row.flax: row for row in WEIGHTS},
}
