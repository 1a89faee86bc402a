"""BertConfig: the sizes and choices that define one BERT, with Hugging Face's field names."""

import dataclasses
import difflib
import os
from collections.abc import Collection, Mapping
from typing import Any, Self

from bert_jax.arguments import LARGEST, MOST, known_names, path_like
from bert_jax.errors import UserError
from bert_jax.json_reading import read_json_object
from bert_jax.mirror import at_hand, told_by_url
from bert_jax.whole_file import write_json

# Keys of a Hugging Face config.json that change the mathematics, and the values under which they
# leave it as published. Any other value is refused; every other unknown key is ignored, because
# it describes something around the model (its task, its file, its trainer), not the model.
_PUBLISHED_VALUES: dict[str, tuple[Any, ...]] = {
    "model_type": (None, "bert"),
    "position_embedding_type": (None, "absolute"),
    "is_decoder": (None, False),
    "is_encoder_decoder": (None, False),
    "add_cross_attention": (None, False),
    "pruned_heads": (None, {}, []),
    "cross_attention_hidden_size": (None,),
}

ACTIVATION_NAMES = (
    "gelu",
    "gelu_fast",
    "gelu_new",
    "gelu_python",
    "gelu_pytorch_tanh",
    "leaky_relu",
    "mish",
    "quick_gelu",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "swish",
    "tanh",
)


# The published sizes, each a constructor of `BertConfig`.
PRESETS = ("tiny", "mini", "small", "medium", "base", "large")


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Sizes and choices of one BERT. The defaults are BERT-base, uncased, as published.

    Field names are those of Hugging Face's `BertConfig`. Paper: Devlin et al. 2018, section 3 and
    appendix A.2 (https://arxiv.org/abs/1810.04805).

        >>> config = BertConfig.tiny(vocab_size=8192)
        >>> config.hidden_size, config.num_hidden_layers, config.vocab_size
        (128, 2, 8192)

    Raises:
        UserError: a field has the wrong type or value; the message names the field.
    """

    vocab_size: int = 30522  # V
    hidden_size: int = 768  # D
    num_hidden_layers: int = 12
    num_attention_heads: int = 12  # N; the head width H is D / N
    intermediate_size: int = 3072  # F
    hidden_act: str = "gelu"  # exact, with erf
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2  # S
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    tie_word_embeddings: bool = True
    classifier_dropout: float | None = None  # None: hidden_dropout_prob

    def __post_init__(self) -> None:
        for name, most in _LARGEST_SIZES.items():
            size = getattr(self, name)
            _require(_is_integer(size) and size > 0, name, size, "a whole number of at least 1")
            _require(size <= most, name, size, f"at most {most}")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"):
            rate = getattr(self, name)
            if name == "classifier_dropout" and rate is None:
                continue
            _require(
                _is_number(rate) and 0 <= rate < 1,
                name,
                rate,
                "a probability of at least 0 and below 1",
            )
        for name in ("initializer_range", "layer_norm_eps"):
            _require(
                _is_number(getattr(self, name)) and 0 < getattr(self, name) <= LARGEST,
                name,
                getattr(self, name),
                "a finite number above 0",
            )
        _require(
            self.hidden_act in ACTIVATION_NAMES,
            "hidden_act",
            self.hidden_act,
            "one of " + ", ".join(ACTIVATION_NAMES),
        )
        _require(
            isinstance(self.tie_word_embeddings, bool),
            "tie_word_embeddings",
            self.tie_word_embeddings,
            "true or false",
        )
        _require(
            _is_integer(self.pad_token_id) and 0 <= self.pad_token_id < self.vocab_size,
            "pad_token_id",
            self.pad_token_id,
            f"an id of the vocabulary, 0 to {self.vocab_size - 1}",
        )
        if self.hidden_size % self.num_attention_heads:
            raise UserError(
                f"got hidden_size={self.hidden_size} and num_attention_heads="
                f"{self.num_attention_heads}; expected the first to be a multiple of the second: "
                "every head takes an equal share of the width"
            )

    @property
    def head_dropout(self) -> float:
        """The dropout rate in front of the output layers that classify."""
        rate = self.classifier_dropout
        return self.hidden_dropout_prob if rate is None else rate

    @property
    def least_bytes(self) -> int:
        """Bytes of the float32 tables and matrices: the least a model takes."""
        rows = self.vocab_size + self.max_position_embeddings + self.type_vocab_size
        layer = 4 * self.hidden_size + 2 * self.intermediate_size
        return 4 * self.hidden_size * (rows + self.num_hidden_layers * layer)

    @property
    def head_size(self) -> int:
        """Width H of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def tiny(cls, **changes: Any) -> Self:
        """2 layers of width 128, 2 heads."""
        return cls._sized(2, 128, changes)

    @classmethod
    def mini(cls, **changes: Any) -> Self:
        """4 layers of width 256, 4 heads."""
        return cls._sized(4, 256, changes)

    @classmethod
    def small(cls, **changes: Any) -> Self:
        """4 layers of width 512, 8 heads."""
        return cls._sized(4, 512, changes)

    @classmethod
    def medium(cls, **changes: Any) -> Self:
        """8 layers of width 512, 8 heads."""
        return cls._sized(8, 512, changes)

    @classmethod
    def base(cls, **changes: Any) -> Self:
        """12 layers of width 768, 12 heads."""
        return cls._sized(12, 768, changes)

    @classmethod
    def large(cls, **changes: Any) -> Self:
        """24 layers of width 1024, 16 heads."""
        return cls._sized(24, 1024, changes)

    @classmethod
    def _sized(cls, layers: int, width: int, changes: Mapping[str, Any]) -> Self:
        """All published sizes share heads of width 64 and a feed-forward of four times the width.

        Turc et al. 2019 (https://arxiv.org/abs/1908.08962) for the sizes below base.
        """
        sizes = {
            "num_hidden_layers": layers,
            "hidden_size": width,
            "num_attention_heads": width // 64,
            "intermediate_size": 4 * width,
        }
        _refuse_unknown(changes)
        return cls(**{**sizes, **changes})

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        Raises:
            UserError: a field does not exist, or the changed configuration is not valid.
        """
        _refuse_unknown(changes)
        return dataclasses.replace(self, **changes)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: str = "the configuration") -> Self:
        """Make a configuration from the content of a Hugging Face or Google `config.json`.

        Keys that describe no mathematics (`architectures`, `torch_dtype`, `id2label`, …) are
        ignored; absent keys take the published default, as they do at Hugging Face.

        Args:
            content: the parsed JSON object.
            source: what to call it in an error.

        Raises:
            UserError: a key asks for mathematics that BERT as published does not have, or a
                value is not valid.
        """
        for key, published in _PUBLISHED_VALUES.items():
            if key in content and content[key] not in published:
                wanted = next((value for value in published if value is not None), None)
                raise UserError(
                    f"got {key}={content[key]!r} in {source}; expected "
                    f"{'no such key' if wanted is None else repr(wanted)}: bert_jax implements BERT"
                    " as published and would compute something different from this model"
                )
        known = {field.name for field in dataclasses.fields(cls)}
        _refuse_misspelt(content, known, source)
        values = {key: value for key, value in content.items() if key in known}
        if values.get("pad_token_id", 0) is None:  # Hugging Face's way to say "none"
            del values["pad_token_id"]
        try:
            return cls(**values)
        except UserError as error:
            raise UserError(f"{error} (in {source})") from None

    @classmethod
    @told_by_url()
    def from_json(cls, path: str | os.PathLike[str]) -> Self:
        """Read a `config.json` as Hugging Face or Google wrote it.

        Raises:
            UserError: the file is missing, is not a JSON object, or is refused by `from_dict`.
        """
        path = at_hand(path_like("path", path, "a config.json"))
        if path.is_dir():
            raise UserError(f"got the folder {path}; expected the config.json inside it")
        content = read_json_object(path, "a config.json, an object with keys such as hidden_size")
        return cls.from_dict(content, source=str(path))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields under Hugging Face's names, with `model_type`; none that is None."""
        fields = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        return {"model_type": "bert", **fields}

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the configuration as a `config.json` that Hugging Face reads too."""
        write_json(path, self.to_dict())


# Far beyond any BERT, and small enough that no product of them overflows the compiler's counts.
_LARGEST_SIZES = {
    "vocab_size": MOST,
    "hidden_size": 2**16,
    "num_hidden_layers": 2**12,
    "num_attention_heads": 2**16,
    "intermediate_size": 2**18,
    "max_position_embeddings": 2**24,
    "type_vocab_size": 2**16,
}


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require(holds: bool, name: str, got: Any, expected: str) -> None:
    if not holds:
        raise UserError(f"got {name}={got!r}; expected {expected}")


def _refuse_misspelt(content: Mapping[str, Any], known: Collection[str], source: str) -> None:
    """Refuse a key that is nearly one of ours, which is absent: it would be left out in silence."""
    absent = [name for name in known if name not in content]
    for key in content:
        if key not in known and (near := difflib.get_close_matches(key, absent, 1, _MISSPELT)):
            raise UserError(f"got the key {key!r} in {source}; expected {near[0]!r}, or another")


_MISSPELT = 0.9  # likeness; layer_norm_epsilon, which is another key of others, is less like


def _refuse_unknown(changes: Mapping[str, Any]) -> None:
    known_names(changes, [field.name for field in dataclasses.fields(BertConfig)], "BertConfig")
