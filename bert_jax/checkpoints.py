"""Checkpoints: orbax, asynchronous and atomic, the embedding tables an item of their own.

    checkpoints/
      600/
        state/        step, parameters but for the embeddings, optimiser state
        embeddings/   token, segment, position, norm — read alone by `load_embeddings`
        config/       BertConfig as JSON
        vocabulary/   the pieces, their hash, how text is normalised
        head/         of a fine-tuned model: its architecture and class names
        metrics/      held-out figures, by which the best checkpoint is kept

A checkpoint is renamed into place when it is whole: one that is listed can be read.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from bert_jax.errors import UserError

BEST_METRIC = "heldout_mlm_loss"


class State(Protocol):
    """What a run saves: a dataclass of arrays that JAX knows as a tree, such as `TrainState`.

    Attributes:
        step: scalar, by which the checkpoint is named.
        params: nested dict with `bert/embeddings`.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def step(self) -> Any: ...  # noqa: D102

    @property
    def params(self) -> dict[str, Any]: ...  # noqa: D102


S = TypeVar("S", bound=State)


class Checkpoints:
    """The checkpoints of one run, in one directory.

    Args:
        directory: made where absent.
        keep: the newest `keep` are kept, and the best one.
        config: `BertConfig` as a JSON-able dict, written into every checkpoint.
        vocabulary: a JSON-able dict with at least `pieces` and `hash`, likewise.
        head: of a fine-tuned model, a dict with `architecture` (Hugging Face's name of the class)
            and `labels`, likewise; None for pretraining.
        best_metric: which of the held-out figures tells the best checkpoint.
        highest: whether the best is that with the highest figure, and not the lowest.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep: int,
        config: Mapping[str, Any],
        vocabulary: Mapping[str, Any],
        head: Mapping[str, Any] | None = None,
        best_metric: str = BEST_METRIC,
        highest: bool = False,
    ):
        if keep < 1:
            raise UserError(f"got keep={keep} checkpoints; expected at least 1")
        policies = ocp.training.preservation_policies
        self._checkpointer = ocp.training.Checkpointer(
            Path(directory).absolute(),
            context=_context(),
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(keep),
                    policies.BestN(
                        get_metric_fn=lambda metrics: metrics[best_metric],
                        reverse=not highest,
                        n=1,
                        keep_checkpoints_without_metrics=False,
                    ),
                ]
            ),
            cleanup_tmp_directories=True,
        )
        self._json = _json_items(config, vocabulary, head)
        self._best_metric, self._highest = best_metric, highest
        self._writing: ocp.AsyncResponse[bool] | None = None

    def latest_step(self) -> int | None:
        """The newest whole checkpoint, or None."""
        self.wait()
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def best_step(self) -> int | None:
        """Of the checkpoints kept, that with the best figure; None where none has one."""
        self.wait()
        figures = [
            (found.metrics[self._best_metric] * (-1 if self._highest else 1), found.step)
            for found in self._checkpointer.checkpoints
            if found.metrics
        ]
        return min(figures)[1] if figures else None

    def save(self, state: State, metrics: Mapping[str, float] | None = None) -> None:
        """Start writing `state`; returns when its arrays are copied, not when they are written."""
        step = int(state.step)
        rest, embeddings = _take_embeddings(state)
        self._writing = self._checkpointer.save_checkpointables_async(
            step,
            {"state": rest, "embeddings": embeddings, **self._json},
            metrics=dict(metrics) if metrics else None,
        )

    def restore(self, like: S, step: int | None = None) -> S:
        """The state at `step` (default: the newest), placed as `like` is.

        Args:
            like: a state of the same shapes; arrays or `jax.ShapeDtypeStruct` with shardings.
        """
        self.wait()
        step = self.latest_step() if step is None else step
        if step is None:
            raise UserError(f"got no checkpoint in {self._checkpointer.directory}; expected one")
        return _restored(partial(self._checkpointer.load_checkpointables, step), like)

    def wait(self) -> None:
        """Wait until the checkpoint that was started last is whole."""
        if self._writing is not None:
            self._writing.result()

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` lies."""
        return Path(self._checkpointer.directory) / str(step)

    def close(self) -> None:
        """Wait until everything that was started is written."""
        self._checkpointer.close()


def save_params(
    path: str | Path,
    params: Mapping[str, Any],
    *,
    config: Mapping[str, Any],
    vocabulary: Mapping[str, Any] | None,
    head: Mapping[str, Any] | None = None,
) -> None:
    """Write parameters as one checkpoint, without step or optimiser state, whole or not at all.

    Args:
        path: the checkpoint itself, which must not exist.
        params: nested dict with `bert/embeddings`; arrays of any kind.
        config, vocabulary, head: as for `Checkpoints`; the vocabulary may be None.
    """
    bert = dict(params["bert"])
    embeddings = bert.pop("embeddings")
    state = {"params": {**params, "bert": bert}}
    with _context():
        ocp.save_checkpointables(
            Path(path).absolute(),
            {"state": state, "embeddings": embeddings, **_json_items(config, vocabulary, head)},
        )


def save_embeddings(
    path: str | Path, embeddings: Mapping[str, Any], vocabulary: Mapping[str, Any] | None
) -> None:
    """Write the three tables and their LayerNorm alone, whole or not at all.

    Args:
        path: a folder, which must not exist.
        embeddings: nested dict as `load_embeddings` gives it.
        vocabulary: as for `Checkpoints`, or None.
    """
    items = {"embeddings": dict(embeddings), **_json_items(None, vocabulary, None)}
    with _context():
        ocp.save_checkpointables(Path(path).absolute(), items)


def load_state(path: str | Path, like: S) -> S:
    """The state in one checkpoint, placed as `like` is; see `Checkpoints.restore`."""
    with _context():
        return _restored(partial(ocp.load_checkpointables, Path(path).absolute()), like)


def load_embeddings(path: str | Path) -> dict[str, Any]:
    """The three tables and their LayerNorm as numpy arrays, reading nothing else.

    Args:
        path: one checkpoint, such as `WORKDIR/checkpoints/600`.

    Returns:
        A nested dict: `token` [V, D], `segment` [S, D] and `position` [512, D], each under
        `table`, and `norm` with `scale` and `bias` [D].
    """
    return _load(path, "embeddings")


def load_params(path: str | Path) -> dict[str, Any]:
    """All parameters of a checkpoint as numpy arrays, without the optimiser state."""
    path = Path(path).absolute()
    with _context(alone=True):
        on_disk = ocp.checkpointables_metadata(path).metadata["state"]
        wanted = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), on_disk["params"])
        skipped = {
            name: jax.tree.map(lambda _: ocp.PLACEHOLDER, tree)
            for name, tree in on_disk.items()
            if name != "params"
        }
        state = ocp.load_checkpointables(path, {"state": {"params": wanted, **skipped}})["state"]
    params = state["params"]
    return {**params, "bert": {"embeddings": load_embeddings(path), **params["bert"]}}


def has_item(path: str | Path, item: str) -> bool:
    """Whether a checkpoint holds an item, such as `head`."""
    return (Path(path) / item).is_dir()


def load_json(path: str | Path, item: str) -> dict[str, Any]:
    """The `config`, the `vocabulary` or the `head` of a checkpoint."""
    file = Path(path) / item / "data.json"
    if not file.is_file():
        raise UserError(f"got {path}, which has no {item}; expected a checkpoint of bert_jax")
    return json.loads(file.read_text())


def _load(path: str | Path, item: str) -> Any:
    path = Path(path).absolute()
    if not (path / item).is_dir():
        raise UserError(f"got {path}, which has no {item}; expected a checkpoint of bert_jax")
    with _context(alone=True):
        on_disk = ocp.checkpointables_metadata(path).metadata[item]
        abstract = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), on_disk)
        return ocp.load_checkpointables(path, {item: abstract})[item]


def _context(alone: bool = False) -> ocp.Context:
    """Orbax settings: `config`, `vocabulary` and `head` are JSON files a person can read.

    `alone` is for what one process of several does without the others, which orbax would wait for.
    """
    registry = ocp.handlers.local_registry()
    for name in ("config", "vocabulary", "head"):
        registry.add(ocp.handlers.JsonHandler, checkpointable_name=name)
    context = ocp.Context()
    context.checkpointables.registry = registry
    if alone and jax.process_count() > 1:
        me = jax.process_index()
        context.multiprocessing.primary_host = me
        context.multiprocessing.active_processes = {me}
        context.multiprocessing.barrier_sync_key_prefix = f"process_{me}"
    return context


def _json_items(
    config: Mapping[str, Any] | None,
    vocabulary: Mapping[str, Any] | None,
    head: Mapping[str, Any] | None,
) -> dict[str, dict[str, Any]]:
    items = {"config": config, "vocabulary": vocabulary, "head": head}
    return {name: dict(content) for name, content in items.items() if content is not None}


def _take_embeddings(state: S) -> tuple[S, dict[str, Any]]:
    bert = dict(state.params["bert"])
    embeddings = bert.pop("embeddings")
    return dataclasses.replace(state, params={**state.params, "bert": bert}), embeddings


def _put_embeddings(state: S, embeddings: dict[str, Any]) -> S:
    bert = {"embeddings": embeddings, **state.params["bert"]}
    return dataclasses.replace(state, params={**state.params, "bert": bert})


def _restored(load: Callable[[dict[str, Any]], dict[str, Any]], like: S) -> S:
    rest, embeddings = _take_embeddings(jax.tree.map(_abstract, like))
    loaded = load({"state": rest, "embeddings": embeddings})
    return _put_embeddings(loaded["state"], loaded["embeddings"])


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
