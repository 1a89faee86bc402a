"""Sentence encoders: what the files of sentence-transformers say beside those of a model.

    modules.json                        the parts, in order: Transformer, Pooling, perhaps Dense, …
    sentence_bert_config.json           how many pieces a text is cut to
    config_sentence_transformers.json   what is put before texts
    1_Pooling/config.json               how one vector is made of those of the pieces
    2_Dense/                            a layer over it: config.json, model.safetensors
    3_Normalize/                        to unit length; nothing to say

Reimers & Gurevych 2019, Sentence-BERT (https://arxiv.org/abs/1908.10084).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from bert_jax.convert.safetensors_files import SafetensorsFile
from bert_jax.errors import UserError
from bert_jax.json_reading import check_members, read_json, read_json_object
from bert_jax.pooling import (
    CLS,
    LAST,
    MAX,
    MEAN,
    MEAN_SQRT_LEN,
    POOLINGS,
    WEIGHTED_MEAN,
    Pooling,
    unit_length,
)
from bert_jax.pretrained_paths import MODULES
from bert_jax.text.tokenizer import Tokenizer

LIMITS, PROMPTS = "sentence_bert_config.json", "config_sentence_transformers.json"
SENTENCE_FILES = (
    MODULES, LIMITS, PROMPTS, f"0_*/{LIMITS}", "[1-9]_*/config.json", "[1-9]_*/model.safetensors",
)  # fmt: skip
"""Patterns of the files beside those of a model."""

# The switch that says it up to their version 5, and the name since.
_MODES = {
    CLS: ("cls_token", "cls"),
    MAX: ("max_tokens", "max"),
    MEAN: ("mean_tokens", "mean"),
    MEAN_SQRT_LEN: ("mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    WEIGHTED_MEAN: ("weightedmean_tokens", "weightedmean"),
    LAST: ("lasttoken", "lasttoken"),
}
_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "torch.nn.modules.linear.Identity": lambda vectors: vectors,
    "torch.nn.modules.activation.Tanh": jnp.tanh,
    "torch.nn.modules.activation.ReLU": jax.nn.relu,
    "torch.nn.modules.activation.Sigmoid": jax.nn.sigmoid,
    "torch.nn.modules.activation.GELU": lambda vectors: jax.nn.gelu(vectors, approximate=False),
}


@dataclasses.dataclass(frozen=True, eq=False)
class DenseLayer:
    """A layer over sentence vectors: kernel [D, E], bias [E] or None, torch's name of the rest."""

    kernel: np.ndarray
    bias: np.ndarray | None
    activation: str

    def of(self, vectors: jax.Array) -> jax.Array:
        """[B, D] to [B, E]."""
        sums = jnp.matmul(vectors, self.kernel, precision=jax.lax.Precision.HIGHEST)
        return _ACTIVATIONS[self.activation](sums if self.bias is None else sums + self.bias)


@dataclasses.dataclass(frozen=True)
class SentenceEncoder:
    """How a model makes one vector of a text.

    Attributes:
        poolings: whose vectors stand side by side.
        max_length: pieces a text is cut to, [CLS] and [SEP] among them; None for all positions.
        layers: over the pooled vector.
        normalize: whether vectors get unit length.
        prompts: texts to put before a text, by name.
        default_prompt: the name of the one that is put before every text; None for none.
        not_obeyed: what the files say beside and nobody here does: then there are no vectors.
    """

    poolings: tuple[Pooling, ...] = (MEAN,)
    max_length: int | None = None
    layers: tuple[DenseLayer, ...] = ()
    normalize: bool = False
    prompts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    default_prompt: str | None = None
    not_obeyed: tuple[str, ...] = ()

    @property
    def is_mean(self) -> bool:
        """Whether a vector is the mean of the last hidden states, of whatever length."""
        return self.poolings == (MEAN,) and not (self.layers or self.prompt or self.not_obeyed)

    @property
    def prompt(self) -> str:
        """What is put before every text."""
        return "" if self.default_prompt is None else self.prompts.get(self.default_prompt, "")

    def of(self, hidden: jax.Array, mask: jax.Array) -> jax.Array:
        """Vectors [B, E] from last hidden states [B, L, D] in fp32 and a mask [B, L]."""
        vectors = jnp.concatenate([each.of(hidden, mask) for each in self.poolings], axis=-1)
        for layer in self.layers:
            vectors = layer.of(vectors)
        return unit_length(vectors) if self.normalize else vectors

    def to_record(self) -> dict[str, Any]:
        """All but the layers, as JSON holds it."""
        return {
            "poolings": [each.name for each in self.poolings],
            "max_length": self.max_length,
            "normalize": self.normalize,
            "prompts": dict(self.prompts),
            "default_prompt": self.default_prompt,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """What `to_record` gave."""
        by_name = {each.name: each for each in POOLINGS}
        return cls(**{**record, "poolings": tuple(by_name[n] for n in record["poolings"])})


def wants_lower_case(model: Path) -> bool:
    """Whether a model's folder wants text in lower case, whatever its vocabulary is."""
    return _read(model / LIMITS, _OF_LIMITS).get("do_lower_case") is True


def in_lower_case(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, but that text is in lower case before it is split into words."""
    if tokenizer.lowercase or not tokenizer.splitting.has_words:
        return tokenizer
    return Tokenizer(
        tokenizer.pieces,
        lowercase=True,
        strip_accents=bool(tokenizer.strip_accents),
        split_chinese=tokenizer.split_chinese,
        added=tokenizer.added,
    )


def read_sentence_encoder(root: Path, model: Path) -> SentenceEncoder | None:
    """What a directory says of sentence vectors.

    Args:
        root: the directory.
        model: the folder in it that has the model, often itself.

    Returns:
        None where it says nothing of sentences.

    Raises:
        UserError: a file that cannot be read.
    """
    if not (root / MODULES).is_file():
        return None
    modules = read_json(root / MODULES, "what sentence-transformers writes")
    if not isinstance(modules, list) or not all(isinstance(each, dict) for each in modules):
        raise UserError(f"got {root / MODULES} with no list of modules; expected one")
    said = SentenceEncoder(poolings=(), max_length=_max_length(model), **_prompts(root))
    for module in modules[1:]:
        kind = str(module.get("type", "")).rpartition(".")[2]
        folder = root / Path(str(module.get("path", ""))).name
        said = _MODULES.get(kind, _not_obeyed(f"the module {kind}"))(said, folder)
    if not said.poolings and not said.not_obeyed:
        return None  # of token vectors, as a ColBERT's
    return said


def _pooling(said: SentenceEncoder, folder: Path) -> SentenceEncoder:
    content = _read(folder / "config.json", {"pooling_mode": (str, list)})
    modes = content.get("pooling_mode")
    if modes is None:
        modes = [name for switch, name in _MODES.values() if content.get(f"pooling_mode_{switch}")]
    by_name = {name: pooling for pooling, (_, name) in _MODES.items()}
    modes = [str(mode) for mode in ([modes] if isinstance(modes, str) else modes or ["mean"])]
    if unknown := [mode for mode in modes if mode not in by_name]:
        return _not_obeyed(f"pooling by {', '.join(unknown)}")(said, folder)
    if content.get("include_prompt") is False and said.prompt:
        return _not_obeyed("pooling without the prompt")(said, folder)
    return dataclasses.replace(said, poolings=tuple(by_name[mode] for mode in modes))


def _dense(said: SentenceEncoder, folder: Path) -> SentenceEncoder:
    names = {"module_input_name": str, "module_output_name": str}
    content = _read(folder / "config.json", names)
    activation = str(content.get("activation_function", "torch.nn.modules.activation.Tanh"))
    inputs = {content.get(f"module_{name}_name") for name in ("input", "output")}
    weights = folder / "model.safetensors"
    if activation not in _ACTIVATIONS:
        return _not_obeyed(f"the activation {activation} of a Dense layer")(said, folder)
    if content.get("use_residual") or not inputs <= {None, "sentence_embedding"}:
        return _not_obeyed("a Dense layer with a way around it")(said, folder)
    if said.normalize:
        return _not_obeyed("a Dense layer behind Normalize")(said, folder)
    if not weights.is_file():
        return _not_obeyed(
            "a Dense layer without model.safetensors (experiments.unpickle makes it)"
        )(said, folder)
    file = SafetensorsFile(weights)
    arrays = {name: file.read(name).astype(np.float32) for name in file.shapes}
    if "linear.weight" not in arrays or arrays["linear.weight"].ndim != 2:
        raise UserError(f"got {weights} without a matrix linear.weight; expected a Dense layer's")
    layer = DenseLayer(arrays["linear.weight"].T, arrays.get("linear.bias"), activation)
    return dataclasses.replace(said, layers=(*said.layers, layer))


def _normalize(said: SentenceEncoder, folder: Path) -> SentenceEncoder:
    return dataclasses.replace(said, normalize=True)


def _nothing(said: SentenceEncoder, folder: Path) -> SentenceEncoder:
    return said


def _not_obeyed(what: str) -> Callable[[SentenceEncoder, Path], SentenceEncoder]:
    def changed(said: SentenceEncoder, folder: Path) -> SentenceEncoder:
        return dataclasses.replace(said, not_obeyed=(*said.not_obeyed, what))

    return changed


_MODULES: dict[str, Callable[[SentenceEncoder, Path], SentenceEncoder]] = {
    "Pooling": _pooling,
    "Dense": _dense,
    "Normalize": _normalize,
    "Dropout": _nothing,  # of training
}


_OF_LIMITS: dict[str, type | tuple[type, ...]] = {"do_lower_case": bool}


def _max_length(model: Path) -> int | None:
    limits = _read(model / LIMITS, _OF_LIMITS)
    settings = _read(model / "tokenizer_config.json", {})
    for value in (limits.get("max_seq_length"), settings.get("model_max_length")):
        if isinstance(value, int) and not isinstance(value, bool) and 2 <= value < 1_000_000:
            return value
    return None


def _prompts(root: Path) -> dict[str, Any]:
    content = _read(root / PROMPTS, {"prompts": dict, "default_prompt_name": str})
    prompts = {name: str(text) for name, text in (content.get("prompts") or {}).items() if text}
    name = content.get("default_prompt_name")
    return {"prompts": prompts, "default_prompt": name if name in prompts else None}


def _read(path: Path, kinds: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """A JSON object with members of such types; {} where there is no file."""
    if not path.is_file():
        return {}
    content = read_json_object(path, "what sentence-transformers writes")
    check_members(content, kinds, path)
    return content


def write_sentence_encoder(
    encoder: SentenceEncoder, directory: Path, width: int, positions: int
) -> None:
    """Write the files by which `SentenceTransformer(directory)` gives the same vectors.

    Args:
        encoder: one that is obeyed as a whole.
        directory: has the model.
        width: D of its hidden states.
        positions: of the model.
    """
    kinds = ["Transformer", "Pooling", *["Dense"] * len(encoder.layers)]
    kinds += ["Normalize"] if encoder.normalize else []
    folders = ["", *(f"{number}_{kind}" for number, kind in enumerate(kinds[1:], 1))]
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": folder,
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, (kind, folder) in enumerate(zip(kinds, folders, strict=True))
    ]
    _write(directory / MODULES, modules)
    (directory / folders[1]).mkdir()
    _write(directory / folders[1] / "config.json", _pooling_config(encoder, width))
    for folder, layer in zip(folders[2:], encoder.layers, strict=False):
        (directory / folder).mkdir()
        _write_dense(layer, directory / folder)
    length = positions if encoder.max_length is None else min(encoder.max_length, positions)
    _write(directory / LIMITS, {"max_seq_length": length, "do_lower_case": False})
    prompts = {
        "__version__": {"sentence_transformers": "2.0.0"},  # the first that reads these files
        "prompts": dict(encoder.prompts),
        "default_prompt_name": encoder.default_prompt,
        "similarity_fn_name": "cosine",
    }
    _write(directory / PROMPTS, prompts)


def _pooling_config(encoder: SentenceEncoder, width: int) -> dict[str, Any]:
    in_their_order = [each for each in _MODES if each in encoder.poolings]
    if in_their_order != list(encoder.poolings):  # which the switches cannot say
        return {
            "embedding_dimension": width,
            "pooling_mode": [_MODES[each][1] for each in encoder.poolings],
        }
    switches = {f"pooling_mode_{s}": each in encoder.poolings for each, (s, _) in _MODES.items()}
    return {"word_embedding_dimension": width, **switches}


def _write_dense(layer: DenseLayer, folder: Path) -> None:
    inputs, outputs = layer.kernel.shape
    config = {
        "in_features": inputs,
        "out_features": outputs,
        "bias": layer.bias is not None,
        "activation_function": layer.activation,
    }
    _write(folder / "config.json", config)
    arrays = {"linear.weight": np.ascontiguousarray(layer.kernel.T)}
    if layer.bias is not None:
        arrays["linear.bias"] = layer.bias
    save_file(arrays, folder / "model.safetensors", {"format": "pt"})


def _write(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    path.write_bytes(text.encode("utf-8", "backslashreplace"))
