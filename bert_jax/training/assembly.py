"""From choices to something that runs: a placed state and compiled steps on one mesh."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from bert_jax.config import BertConfig
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute
from bert_jax.model.embeddings import PUBLISHED, Parts
from bert_jax.parameters import Parameters, abstract_params, split_model, token_table
from bert_jax.training.objectives import MLM_AND_NSP, Objective
from bert_jax.training.padding import padded_size, place_cut, put_padded, resize
from bert_jax.training.sharding import BATCH, batch_ways, copies_of_tables, place
from bert_jax.training.state import TrainState, create_state
from bert_jax.training.steps import EvalStep, TrainStep, create_eval_step, create_train_step
from bert_jax.training.update_audit import audited, begin_audit

_TOKEN_TABLE = "bert/embeddings/token/table"


@dataclasses.dataclass(frozen=True)
class Pretrainer:
    """What a pretraining run needs on the device side.

    Attributes:
        abstract_state: shapes, dtypes and placement of the state that the steps take. Its
            vocabulary rows may be padded (`padding.py`).
        saved_state: the same as it is saved and restored: with the vocabulary's own rows.
        train_step: compiled at its first call; its state argument is donated.
        eval_step: compiled at its first call; takes `state.params`.
    """

    mesh: Mesh
    abstract_state: TrainState
    saved_state: TrainState
    train_step: TrainStep
    eval_step: EvalStep
    _init: Callable[[], TrainState]

    def initial_state(self) -> TrainState:
        """The state before the first step, made where it will live."""
        return self._init()

    def cut(self, state: TrainState) -> TrainState:
        """A state as it is saved, without padding."""
        return resize(state, self.saved_state)

    def pad(self, state: TrainState) -> TrainState:
        """A restored state as the steps take it."""
        return resize(state, self.abstract_state)


def check_assembly(
    config: BertConfig,
    mesh: Mesh,
    *,
    batch_size: int,
    accumulate: int = 1,
    frozen: Sequence[str] = (),
    row_lazy: bool = False,
) -> None:
    """Refuse what cannot be put together, which is known before there is text or vocabulary.

    Args:
        config: sizes, whatever the vocabulary.
        mesh, batch_size, accumulate, frozen, row_lazy: see `assemble_pretrainer`.

    Raises:
        UserError: see `assemble_pretrainer`.
    """
    if row_lazy and config.tie_word_embeddings:
        raise UserError(
            "got a row-lazy optimiser with a tied decoder, whose gradient reaches every row of the"
            " token table; expected an untied decoder (`untied`), or another optimiser"
        )
    if row_lazy and _is_frozen(_TOKEN_TABLE, frozen):
        raise UserError(
            "got a row-lazy optimiser and a frozen token table, which leaves it nothing to update;"
            " expected one of the two"
        )
    pieces = accumulate * batch_ways(mesh)
    if accumulate < 1 or batch_size % pieces:
        raise UserError(
            f"got batch_size={batch_size}; expected a multiple of {pieces}, which is"
            f" accumulate={accumulate} times the {batch_ways(mesh)} ways the mesh cuts a batch"
        )


def assemble_pretrainer(
    config: BertConfig,
    mesh: Mesh,
    optimizer: optax.GradientTransformation,
    rate: optax.Schedule,
    *,
    seed: int,
    batch_size: int,
    objective: Objective = MLM_AND_NSP,
    compute: Compute | None = None,
    parts: Parts = PUBLISHED,
    accumulate: int = 1,
    frozen: Sequence[str] = (),
    start: Callable[[Parameters], Parameters] = lambda params: params,
    row_lazy: bool = False,
    audit_mask_id: int | None = None,
) -> Pretrainer:
    """Put model, optimiser and mesh together.

    Args:
        config: sizes of the model.
        mesh: from `create_mesh`.
        optimizer: from `create_optimizer`.
        rate: the learning rate as a function of the step.
        seed: of the initial parameters and of dropout.
        batch_size: rows of the global batch.
        objective: what the model is trained for; the class of the model is its own.
        compute: how the model computes; None is `Compute()`.
        parts: how the three parts of its input representation are made.
        accumulate: microbatches a step.
        frozen: paths of parameters that stay as they are, such as `bert/embeddings/token`.
        start: turns the parameters that were drawn into those to start from, of the same shapes.
        row_lazy: `optimizer` updates touched token rows only (`row_lazy.py`).
        audit_mask_id: the id of [MASK] observes what every step does to the token table, in
            `state.opt_state.audit` (`bert_jax.training.update_audit`); None observes nothing.

    Raises:
        UserError: the batch cannot be cut over microbatches and devices, or `row_lazy` with a tied
            decoder, a frozen token table or none, or an audit of no token table.
    """
    check_assembly(
        config, mesh, batch_size=batch_size, accumulate=accumulate, frozen=frozen, row_lazy=row_lazy
    )
    compute = compute or Compute()
    unrolled = compute.replace(scan_layers=False)

    def params() -> Parameters:  # layers unrolled: state and checkpoints have this one layout
        return split_model(objective.model(config, nnx.Rngs(seed), unrolled, parts))[1]

    def begin(params: Parameters) -> TrainState:
        state = create_state(params, optimizer, frozen)
        return state if audit_mask_id is None else begin_audit(state)

    def init() -> TrainState:
        # Parameters one by one: under one jit, every draw of every layer would be compiled anew.
        values = put_padded(start(params()), abstract.params)
        return jax.jit(begin, out_shardings=placed)(values)

    def shapes(vocab_size: int) -> TrainState:
        sized = config.replace(vocab_size=vocab_size)
        _, leaves = abstract_params(lambda: objective.model(sized, nnx.Rngs(seed), parts=parts))
        return jax.eval_shape(begin, leaves)

    definition, _ = abstract_params(lambda: objective.model(config, nnx.Rngs(seed), compute, parts))
    padded, saved = shapes(padded_size(config.vocab_size, mesh)), shapes(config.vocab_size)
    if row_lazy:
        token_table(saved.params)  # refuses a token embedding that has none
    # A part that stands in for the token table knows one table only.
    used_twice = (
        config.tie_word_embeddings
        and "mlm" in saved.params
        and parts.token is PUBLISHED.token
        and not _is_frozen(_TOKEN_TABLE, frozen)
    )
    placed, replicated = place(padded, mesh), NamedSharding(mesh, P())
    abstract = jax.tree.map(_abstract, padded, placed)
    rows = NamedSharding(mesh, BATCH)
    train_step = create_train_step(
        definition, optimizer, rate, seed, objective=objective,
        scan_layers=compute.scan_layers, accumulate=accumulate, frozen=frozen, row_lazy=row_lazy,
        copy_table=copies_of_tables(mesh) if used_twice else None,
    )  # fmt: skip
    if audit_mask_id is not None:
        train_step = audited(train_step, audit_mask_id)
    eval_step = create_eval_step(definition, objective=objective, scan_layers=compute.scan_layers)
    return Pretrainer(
        mesh=mesh,
        abstract_state=abstract,
        saved_state=jax.tree.map(_abstract, saved, place_cut(saved, abstract, mesh)),
        train_step=jax.jit(
            train_step,
            in_shardings=(placed, rows),
            out_shardings=(placed, replicated),
            donate_argnums=0,
        ),
        eval_step=jax.jit(eval_step, in_shardings=(placed.params, rows), out_shardings=replicated),
        _init=init,
    )


def _is_frozen(path: str, frozen: Sequence[str]) -> bool:
    return any(f"{path}/".startswith(f"{each}/") for each in frozen)


def _abstract(leaf: jax.ShapeDtypeStruct, where: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
