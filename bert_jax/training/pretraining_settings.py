"""What a pretraining run is asked for: its settings, and what follows from them alone."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import optax

from bert_jax.arguments import MOST_SEED
from bert_jax.config import PRESETS, BertConfig
from bert_jax.data.loader import Phase, RowSettings, phase_ends
from bert_jax.data.masking import MASKINGS, Masking
from bert_jax.errors import UserError
from bert_jax.kernels.rematerialisation import REMATERIALISATIONS
from bert_jax.mirror import at_hand
from bert_jax.settings import check_settings, setting
from bert_jax.tables.embedding_tables import PARTS
from bert_jax.text.splitting import WORDS, splitting_of
from bert_jax.text.vocab_file import recorded_treatment
from bert_jax.training.attention_choice import ATTENTIONS
from bert_jax.training.freezing import Frozen
from bert_jax.training.given_tables import chosen_parts
from bert_jax.training.objectives import OBJECTIVES
from bert_jax.training.optimizers import OPTIMIZERS
from bert_jax.training.schedules import SCHEDULES, Course, create_schedule, whole_steps

# What is made where nothing else is asked for, and no model is given to start from.
MODEL, VOCAB_SIZE = "tiny", 8192

# What the run computes does not depend on these: they may differ when it is continued.
MAY_CHANGE = frozenset(
    {
        "log_every", "eval_every", "eval_batches", "checkpoint_every", "keep", "loader_workers",
        "profile", "mesh", "scan_layers", "remat", "attention",
        "words",  # which older runs wrote down
    }
)  # fmt: skip

# By these a model to start from is compared with a preset, which says no more; and with a whole
# configuration. The rows of its vocabulary may become others.
_SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
_ALL_BUT_ROWS = tuple(
    field.name
    for field in dataclasses.fields(BertConfig)
    if field.name not in ("vocab_size", "pad_token_id")
)

# By these alone a run that is continued may get another length (`lengthening.py`).
LENGTH = frozenset({"steps", "schedule", "warmup", "decay", "decay_power"})


_SHORTEST_INSTANCE = 3  # [CLS], a piece, [SEP]


@dataclasses.dataclass(frozen=True)
class PretrainingSettings:
    """The settings of a pretraining run, checked where they are made.

    Raises:
        UserError: a value that is not possible, or two that do not go together.
    """

    vocab: str | None = setting(
        None,
        "A vocab.txt; by default the vocabulary of the model to start from, or a new one is"
        " learned.",
    )
    vocab_size: int | None = setting(
        None, f"Size of the learned vocabulary, in tokens; by default {VOCAB_SIZE}.", least=1
    )
    add_tokens: str | None = setting(
        None, "A text file of tokens, one per line, to add to the vocabulary of init_checkpoint."
    )
    lowercase: bool | None = setting(
        None,
        "Lowercase the text; by default yes, or as the model to start from.",
    )
    splitting: str | None = setting(
        None,
        "How text is split: words, spaces (text that is already split), or a regular expression"
        " whose every match is a token; by default words, or as the given vocabulary.",
    )
    heldout_fraction: float = setting(0.05, "Share of the documents held out for evaluation.")
    init_checkpoint: str | None = setting(
        None,
        "Model to start from, with its vocabulary and sizes: a checkpoint or workdir, a Hugging"
        " Face directory, a name on the hub (name@revision), a Google checkpoint. With vocab,"
        " vocab_size or add_tokens it moves to that vocabulary.",
    )
    init_embeddings: str | None = setting(
        None,
        "Embedding tables to start from, all else random: a checkpoint or workdir, a Hugging Face"
        " directory, a Google checkpoint, a .npz or .safetensors. Without vocab, their vocabulary"
        " is used.",
    )
    init_parts: tuple[str, ...] | str | None = setting(
        None, "Which tables init_embeddings gives: some of token,segment,position; by default all."
    )
    freeze: tuple[str, ...] | str | None = setting(
        None,
        "What is not trained: some of token,segment,position; embeddings, which is these and"
        " their LayerNorm; layers:N, the first N layers. By default nothing.",
    )
    model: str | BertConfig | None = setting(
        None,
        f"Model size: {', '.join(PRESETS)}, or a config.json; by default {MODEL}, or the size of"
        " init_checkpoint.",
    )
    untied: bool = setting(
        False, "Give the masked-LM decoder its own table instead of the token embeddings."
    )
    steps: int = setting(1800, "Length of the whole run, in optimiser steps.", least=1)
    batch_size: int = setting(16, "Global batch size, in rows.", least=1)
    phases: str = setting(
        "128:1.0", "Tokens per row, as length:share of the steps; 128:0.9,512:0.1 is the paper's."
    )
    pack: int = setting(
        8,
        "Most examples packed into a row, hidden from each other by the attention mask; 1: as"
        " published.",
        least=1,
    )
    objective: str = setting(
        "mlm+nsp",
        "Training task; mlm: masked LM on consecutive sentences, without next sentence prediction.",
        choices=tuple(OBJECTIVES),
    )
    masking: str = setting(
        "token",
        "What is masked together: single tokens, whole words, or spans of up to ten words"
        " (SpanBERT).",
        choices=tuple(MASKINGS),
    )
    mask_rate: str | float = setting(
        "0.15", "Share of the tokens to predict; from:to changes it linearly over the run."
    )
    mask_fraction: float = setting(0.8, "Share of the tokens to predict that become [MASK].")
    random_fraction: float = setting(
        0.1, "Share of them that become a random token; the rest stay unchanged."
    )
    optimizer: str = setting("adamw", "The optimiser.", choices=tuple(OPTIMIZERS))
    learning_rate: float = setting(2e-3, "Peak learning rate.", least=0.0)
    schedule: str = setting(
        "polynomial",
        "Learning rate after warm-up. wsd: stable, then decay; can be lengthened while stable.",
        choices=tuple(SCHEDULES),
    )
    warmup: float = setting(0.1, "Warm-up, in steps; below 1, a share of all steps.", least=0.0)
    decay: float = setting(
        0.1, "wsd: length of the decay, in steps; below 1, a share of all steps.", least=0.0
    )
    decay_power: float = setting(1.0, "Power of the decay: 1 is linear, 2 quadratic.", least=0.0)
    weight_decay: float = setting(
        0.01,
        "Weight decay of matrices and embedding tables; biases and LayerNorm have none.",
        least=0.0,
    )
    clip_norm: float = setting(
        1.0, "Gradients are clipped to this global norm; 0 turns clipping off.", least=0.0
    )
    accumulate: int = setting(1, "Microbatches per step; more need less memory.", least=1)
    dtype: str = setting(
        "float32",
        "What the model computes in; bfloat16 is faster on accelerators, less exact.",
        choices=("float32", "bfloat16"),
    )
    scan_layers: bool | None = setting(
        None,
        "Loop over the layers instead of unrolling them: compiles faster; on by default on TPUs.",
    )
    attention: str = setting(
        "auto",
        "Attention kernel. einsum runs anywhere; flash: ours, for NVIDIA GPUs and TPUs; fused"
        " (cuDNN) and splash (TPU) have no attention dropout. auto: einsum, or fused or splash"
        " when there is no attention dropout and they are faster.",
        choices=tuple(ATTENTIONS),
    )
    hidden_dropout: float | None = setting(
        None,
        "Dropout rate of the hidden states; by default the model's. 0 suits runs that read a text"
        " once.",
        least=0.0,
        most=0.9,
    )
    attention_dropout: float | None = setting(
        None, "Dropout rate of the attention weights; by default the model's.", least=0.0, most=0.9
    )
    remat: str = setting(
        "none",
        "What the backward pass recomputes to save memory: nothing, all but matrix products, or"
        " whole layers.",
        choices=tuple(REMATERIALISATIONS),
    )
    branch_from: str | None = setting(
        None,
        "A checkpoint in another run's workdir, to continue with another length or decay; all"
        " other settings must be the same.",
    )
    seed: int = setting(
        0,
        "Random seed: initial weights, order of the data, masking and dropout.",
        least=0,
        most=MOST_SEED,
    )
    mesh: str = setting(
        "", "Device mesh, as in data:4,fsdp:2; by default devices on data, TPU slices on dcn."
    )
    log_every: int = setting(10, "Steps between lines in metrics.jsonl.", least=1)
    eval_every: int = setting(
        450, "Steps between held-out evaluations; 0: only at the end.", least=0
    )
    eval_batches: int = setting(128, "Held-out batches per evaluation.", least=1)
    checkpoint_every: int = setting(450, "Steps between checkpoints; 0: only at the end.", least=0)
    keep: int = setting(3, "How many of the newest checkpoints to keep, besides the best.", least=1)
    loader_workers: int = setting(
        0, "Processes that prepare batches; 0: a background thread.", least=0
    )
    audit_every: int = setting(
        0,
        "Record which token rows each step changes, written every N steps; 0: off.",
        least=0,
    )
    profile: bool = setting(False, "Write a profiler trace of a few steps to workdir/profile.")

    def __post_init__(self) -> None:
        check_settings(self)
        for field in dataclasses.fields(self):  # of a shell variable that is not set
            if field.default is None and getattr(self, field.name) == "":
                raise UserError(
                    f"got {field.name}= without a value; expected one, or no `{field.name}`"
                )
        if not 0 < self.heldout_fraction < 1:
            raise UserError(
                f"got heldout_fraction={self.heldout_fraction}; expected a share above 0 and below"
                " 1, since the run is measured on held-out documents"
            )
        splitting_of(self.splitting or WORDS).normalisation(self.lowercase)
        self._check_start()
        if self.init_checkpoint is None or self.model is not None:
            self.config()  # a typo is said before anything is made
        self.rows()
        self.rate()
        Frozen.named(self.freeze)

    def _check_start(self) -> None:
        """Refuse two starts at once, and two vocabularies at once for the model to start from."""
        vocabulary = {name: getattr(self, name) for name in ("vocab", "vocab_size", "add_tokens")}
        said = [f"{name}={value}" for name, value in vocabulary.items() if value is not None]
        if self.init_checkpoint is None:
            if self.vocab is not None and self.vocab_size is not None:
                raise UserError(
                    f"got {' and '.join(said)}; expected one of them: a vocabulary that is given is"
                    " not learned"
                )
            if self.add_tokens is not None:
                raise UserError(
                    f"got add_tokens={self.add_tokens} alone; expected init_checkpoint=MODEL with"
                    " it, to whose vocabulary they are added"
                )
            return
        if self.init_embeddings is not None or self.init_parts is not None:
            name = "init_parts" if self.init_embeddings is None else "init_embeddings"
            raise UserError(
                f"got init_checkpoint={self.init_checkpoint} and `{name}`; expected one of them:"
                " the model has embedding tables of its own"
            )
        if len(said) > 1:
            raise UserError(
                f"got {' and '.join(said)} with `init_checkpoint`; expected one of them at most,"
                " the vocabulary to move it to"
            )

    def config(self, vocab_size: int | None = None) -> BertConfig:
        """The sizes of a new model with a vocabulary of so many pieces."""
        return self._with_choices(
            self._named_config().replace(vocab_size=vocab_size or self.vocab_size or VOCAB_SIZE)
        )

    def config_from(self, given: BertConfig) -> BertConfig:
        """The same of a run that starts from a model with the configuration `given`.

        Raises:
            UserError: `model` says something else, or the rows are too long for it.
        """
        if self.model is not None:
            named = self._named_config()
            compared = _SIZES if self.model in PRESETS else _ALL_BUT_ROWS
            for name in compared:
                if getattr(named, name) != getattr(given, name):
                    called = "BertConfig" if named is self.model else self.model
                    raise UserError(
                        f"got model={called} with {name}={getattr(named, name)}, but {name}="
                        f"{getattr(given, name)} in init_checkpoint={self.init_checkpoint};"
                        " expected the same, or no `model`"
                    )
        return self._with_choices(given)

    def _named_config(self) -> BertConfig:
        model = self.model or MODEL
        if isinstance(model, BertConfig):
            return model
        if model in PRESETS:
            return getattr(BertConfig, model)()
        if model.endswith(".json"):
            return BertConfig.from_json(model)
        raise UserError(f"got model={model}; expected a config.json or one of {', '.join(PRESETS)}")

    def _with_choices(self, config: BertConfig) -> BertConfig:
        if self.untied:
            config = config.replace(tie_word_embeddings=False)
        if self.hidden_dropout is not None:
            config = config.replace(hidden_dropout_prob=self.hidden_dropout)
        if self.attention_dropout is not None:
            config = config.replace(attention_probs_dropout_prob=self.attention_dropout)
        longest = max(phase.length for phase in self.row_phases())
        if longest > config.max_position_embeddings:
            raise UserError(
                f"got phases={self.phases}, rows of {longest} tokens; expected at most the model's"
                f" {config.max_position_embeddings} positions, or a model with more: a config.json,"
                " or experiments.edit_embeddings with `positions` for one that is trained"
            )
        Frozen.named(self.freeze).paths(config)
        if OBJECTIVES[self.objective].segments > config.type_vocab_size:
            raise UserError(
                f"got objective={self.objective}, whose rows have"
                f" {OBJECTIVES[self.objective].segments} kinds of segment, for a model of"
                f" {config.type_vocab_size}; expected objective=mlm, or a model with more"
            )
        return config

    def row_phases(self) -> list[Phase]:
        """`phases`, read."""
        try:
            pairs = [part.split(":") for part in self.phases.split(",")]
            phases = [Phase(int(length), float(share)) for length, share in pairs]
        except ValueError:
            raise UserError(
                f"got phases={self.phases}; expected length:share pairs, as in 128:0.9,512:0.1"
            ) from None
        phase_ends(phases, self.steps)  # shares that cannot be are said now
        return phases

    def rows(self) -> RowSettings:
        """How rows are made."""
        plan = OBJECTIVES[self.objective].plan
        longest = max(phase.length for phase in self.row_phases())
        fit = max(longest // _SHORTEST_INSTANCE, 1)  # so that no array has places nobody can take
        pack = min(self.pack, fit)
        return RowSettings(self.batch_size, pack, masking=self.row_masking(), plan=plan)

    def row_masking(self) -> Masking:
        """`masking` with its rate and shares."""
        try:
            rates = [float(rate) for rate in str(self.mask_rate).split(":")]
            first, final = rates[0], rates[-1]
            if len(rates) > 2 or not all(0 < rate < 1 for rate in rates):
                raise ValueError(rates)
        except ValueError:
            raise UserError(
                f"got mask_rate={self.mask_rate}; expected a share above 0 and below 1 such as"
                " 0.15, or from:to as in 0.3:0.15"
            ) from None
        return dataclasses.replace(
            MASKINGS[self.masking],
            rate=first,
            final_rate=None if len(rates) == 1 else final,
            mask_fraction=self.mask_fraction,
            random_fraction=self.random_fraction,
        )

    def rate(self) -> optax.Schedule:
        """The learning rate by the number of updates applied."""
        for name in ("warmup", "decay"):
            steps = getattr(self, name)
            if steps > 1 and steps != round(steps):
                raise UserError(
                    f"got {name}={steps}; expected a whole number of steps, or a share below 1"
                )
        course = Course(
            self.learning_rate,
            self.steps,
            warmup_steps=whole_steps(self.warmup, self.steps),
            decay_steps=whole_steps(self.decay, self.steps) if self.schedule == "wsd" else 0,
            power=self.decay_power,
        )
        return create_schedule(self.schedule, course)

    @property
    def unused(self) -> frozenset[str]:
        """What the run has no use for, and older ones wrote down."""
        return frozenset({"vocab_size"} if self.vocab else ())

    def record(self) -> dict[str, Any]:
        """The settings as `config.json` of a workdir keeps them."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if isinstance(self.model, BertConfig):
            values["model"] = self.model.to_dict()
        values["mask_rate"] = str(self.mask_rate)
        if self.init_checkpoint is None:
            values["model"] = values["model"] or MODEL
            if not self.vocab:
                values["vocab_size"] = self.vocab_size or VOCAB_SIZE
            if self.lowercase is None:
                learned = (
                    recorded_treatment(at_hand(self.vocab, beside=[".json"])) if self.vocab else {}
                )
                values["lowercase"] = learned.get("lowercase", True)
        values["freeze"] = str(Frozen.named(self.freeze)) or None
        parts = chosen_parts(self.init_parts) or PARTS
        values["init_parts"] = ",".join(parts) if self.init_embeddings else None
        return {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in values.items()}
