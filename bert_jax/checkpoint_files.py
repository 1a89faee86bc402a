"""One checkpoint: what it is made of, and reading it, or a part of it, as it was written.

    600/
      state/        step, parameters but for the embeddings, optimiser state
      embeddings/   token, segment, position, norm — read alone by `load_embeddings`
      config/       BertConfig as JSON
      vocabulary/   the pieces, their hash, how text is normalised
      head/         of a fine-tuned model: its architecture and class names
      metrics/      held-out figures, by which the best checkpoint is kept
      digests/      of everything above but the metrics

What is read is compared with its digest, so damaged bits are an error and never other numbers.
(Checkpoints of before there were digests are read as they are.)
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import jax
import numpy as np
from etils.epath import gpath
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint import v1 as ocp

from bert_jax.array_digests import digests
from bert_jax.disk import sync
from bert_jax.errors import UserError
from bert_jax.first_process import done_by_first, sent_by_first

_JSON = ("config", "vocabulary", "head")
_REASON = 200  # most characters of another library's message
# Seconds, which orbax measures by a clock that may be set anew meanwhile, and passes on from one
# wait to the next: far from both zero and `threading.TIMEOUT_MAX`.
_NO_LIMIT = 5 * 10**9


class DamagedCheckpointError(UserError):
    """A checkpoint does not hold what was written; says which part of it."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(
            f"got {path}, a damaged checkpoint ({reason}); expected one as it was written: another"
            " step of the run, or a copy"
        )


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
    arrays = {"state": {"params": {**params, "bert": bert}}, "embeddings": embeddings}
    texts = json_items(config, vocabulary, head)
    _save(path, {**arrays, **texts, "digests": digests_of({"params": params}, texts)})


def save_embeddings(
    path: str | Path, embeddings: Mapping[str, Any], vocabulary: Mapping[str, Any] | None
) -> None:
    """Write the three tables and their LayerNorm alone, whole or not at all.

    Args:
        path: a folder, which must not exist.
        embeddings: nested dict as `load_embeddings` gives it.
        vocabulary: as for `Checkpoints`, or None.
    """
    texts = json_items(None, vocabulary, None)
    found = digests_of(_named_embeddings(embeddings), texts)
    _save(path, {"embeddings": dict(embeddings), **texts, "digests": found})


def load_state(path: str | Path, like: S) -> S:
    """The state in one checkpoint, placed as `like` is; see `Checkpoints.restore`."""
    with orbax_context(alone=True):
        return restored(partial(ocp.load_checkpointables, Path(path).absolute()), path, like)


def load_embeddings(path: str | Path) -> dict[str, Any]:
    """The three tables and their LayerNorm as numpy arrays, reading nothing else.

    Args:
        path: one checkpoint, such as `WORKDIR/checkpoints/600`.

    Returns:
        A nested dict: `token` [V, D], `segment` [S, D] and `position` [512, D], each under
        `table`, and `norm` with `scale` and `bias` [D].

    Raises:
        UserError: it has none.
        DamagedCheckpointError: they are not what was written.
    """
    if not has_item(path, "embeddings"):
        raise UserError(f"got {path}, which has no embeddings; expected a checkpoint of bert_jax")
    with _reading(path):
        embeddings = _arrays(path, "embeddings")
        _check(path, _named_embeddings(embeddings))
    return embeddings


def load_params(path: str | Path) -> dict[str, Any]:
    """All parameters of a checkpoint as numpy arrays, without the optimiser state.

    Raises:
        DamagedCheckpointError: they are not what was written.
    """
    embeddings = load_embeddings(path)
    with _reading(path):
        params = _arrays(path, "state", only="params")["params"]
        _check(path, {"params": params})
    return {**params, "bert": {"embeddings": embeddings, **params["bert"]}}


def has_item(path: str | Path, item: str) -> bool:
    """Whether a checkpoint holds an item, such as `head`."""
    return (Path(path) / item).is_dir()


def load_json(path: str | Path, item: str) -> dict[str, Any]:
    """The `config`, the `vocabulary` or the `head` of a checkpoint.

    Raises:
        UserError: it has none.
        DamagedCheckpointError: it is not what was written.
    """
    if not (Path(path) / item / "data.json").is_file():
        raise UserError(f"got {path}, which has no {item}; expected a checkpoint of bert_jax")
    with _reading(path):
        content = _text(path, item)
        if _expected(path).get(item, digest := _text_digest(content)) != digest:
            raise DamagedCheckpointError(path, f"its {item} is not what was written")
    return content


def damage_of(path: str | Path) -> str | None:
    """What is wrong with a checkpoint; None where it is whole. Reads all of it.

    Whatever goes wrong while it is read is damage: the readers are those that read the others.
    """
    path = Path(path).absolute()
    reason, expected, found = "", {}, {}
    with _quiet():
        try:
            expected, found = _expected(path), _found(path)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:_REASON]
    if reason:
        return reason
    for name, digest in expected.items():
        if name not in found:
            return f"{name} is not there"
        if found[name] != digest:
            return f"{name} is not what was written"
    return None if found else "there is nothing in it"


def orbax_context(alone: bool = False) -> ocp.Context:
    """Orbax settings: `config`, `vocabulary`, `head`, `digests` are JSON files a person can read.

    `alone` is for what one process of several does without the others, which orbax would wait for.
    """
    registry = ocp.handlers.local_registry()
    for name in (*_JSON, "digests"):
        registry.add(ocp.handlers.JsonHandler, checkpointable_name=name)
    context = ocp.Context()
    context.checkpointables.registry = registry
    context.file.path_class = SyncedPath
    context.asynchronous.timeout_secs = _NO_LIMIT
    if alone and jax.process_count() > 1:
        me = jax.process_index()
        context.multiprocessing.primary_host = me
        context.multiprocessing.active_processes = {me}
        context.multiprocessing.barrier_sync_key_prefix = f"process_{me}"
        context.memory.deepcopy_host_arrays = False  # nobody changes what was gathered to be saved
    return context


def json_items(
    config: Mapping[str, Any] | None,
    vocabulary: Mapping[str, Any] | None,
    head: Mapping[str, Any] | None,
) -> dict[str, dict[str, Any]]:
    """The items of a checkpoint that are JSON, without those that are None."""
    items = zip(_JSON, (config, vocabulary, head), strict=True)
    return {name: dict(content) for name, content in items if content is not None}


def digests_of(arrays: Any, texts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The item `digests` of a checkpoint of these arrays, by path, and JSON items, by name."""
    return digests(arrays) | {name: _text_digest(content) for name, content in texts.items()}


def take_embeddings(state: S) -> tuple[S, dict[str, Any]]:
    """A state without its embeddings, and these."""
    bert = dict(state.params["bert"])
    embeddings = bert.pop("embeddings")
    return dataclasses.replace(state, params={**state.params, "bert": bert}), embeddings


def restored(load: Callable[[dict[str, Any]], dict[str, Any]], path: str | Path, like: S) -> S:
    """The state that `load` reads from a checkpoint, placed as `like` is.

    Of several processes the first reads it, and sends it to the others.

    Raises:
        DamagedCheckpointError: it is not what was written.
    """
    return sent_by_first(done_by_first("checkpoint", lambda: _read(load, path, like)), like)


class SyncedPath(gpath.PosixGPath):
    """Orbax's paths: what it renames into place, and only then counts as saved, is on the disk.

    TensorStore syncs the arrays that it writes; nobody does so with the rest.
    """

    def rename(self, target: Any) -> Any:
        """Sync, rename, and sync the folder around; orbax does so beside the training."""
        sync(self)
        renamed = super().rename(target)
        sync(renamed.parent, deep=False)
        return renamed


def _read(load: Callable[[dict[str, Any]], dict[str, Any]], path: str | Path, like: S) -> S:
    """In place where this is the only process; else as numpy arrays, for the others, too."""
    make = _abstract if jax.process_count() == 1 else _as_numpy
    rest, embeddings = take_embeddings(jax.tree.map(make, like))
    with _reading(path):
        loaded = load({"state": rest, "embeddings": embeddings})
        rest = loaded["state"]
        bert = {"embeddings": loaded["embeddings"], **rest.params["bert"]}
        state = dataclasses.replace(rest, params={**rest.params, "bert": bert})
        _check(path, state)
    return state


@contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    """Turn what goes wrong into the damage that it comes from; without damage it is a bug."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (reason := damage_of(path)) is None:
            raise
        raise DamagedCheckpointError(path, reason) from error


def _check(path: str | Path, tree: Any) -> None:
    expected = _expected(path)
    if not expected:
        return
    for name, digest in digests(tree).items():
        if expected.get(name) != digest:
            raise DamagedCheckpointError(path, f"{name} is not what was written")


def _expected(path: str | Path) -> dict[str, str]:
    return _text(path, "digests") if has_item(path, "digests") else {}


def _found(path: Path) -> dict[str, str]:
    """What `digests` should hold, of what is there now."""
    found = {item: _text_digest(_text(path, item)) for item in _JSON if has_item(path, item)}
    # One process of several cannot read arrays of jax's alone.
    make = _on_cpu if jax.process_count() == 1 else _as_numpy
    if has_item(path, "state"):
        found |= digests(_arrays(path, "state", make=make))
    if has_item(path, "embeddings"):
        found |= digests(_named_embeddings(_arrays(path, "embeddings", make=make)))
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without orbax's own words on what it cannot read, its lost tasks among them."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels, hook = [logger.level for logger in loggers], sys.unraisablehook
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
            gc.collect()  # what was lost is found now
    finally:
        sys.unraisablehook = hook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _text(path: str | Path, item: str) -> Any:
    return json.loads((Path(path) / item / "data.json").read_text(encoding="utf-8"))


def _text_digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _as_numpy(leaf: Any) -> np.ndarray:
    return np.empty(leaf.shape, leaf.dtype)


def _arrays(
    path: str | Path,
    item: str,
    only: str | None = None,
    make: Callable[[Any], Any] = _as_numpy,
) -> Any:
    """The arrays of an item, or those under one of its keys, each as `make` wants it."""
    path = Path(path).absolute()
    with orbax_context(alone=True):
        on_disk = ocp.checkpointables_metadata(path).metadata[item]
        wanted = {
            name: jax.tree.map(make if only in (None, name) else lambda _: ocp.PLACEHOLDER, tree)
            for name, tree in on_disk.items()
        }
        return ocp.load_checkpointables(path, {item: wanted})[item]


def _on_cpu(leaf: Any) -> jax.ShapeDtypeStruct:
    """As an array of jax's, for which all files are read that a run reads."""
    place = SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)


def _named_embeddings(embeddings: Mapping[str, Any]) -> dict[str, Any]:
    """The paths that embeddings have among all arrays of a checkpoint."""
    return {"params": {"bert": {"embeddings": embeddings}}}


def _save(path: str | Path, items: dict[str, Any]) -> None:
    with orbax_context():
        ocp.save_checkpointables(Path(path).absolute(), items)


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
