"""Making batches ahead of time: threads or worker processes, by grain."""

import atexit
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from bert_jax.data.row_layout import Batch
from bert_jax.data.worker_process import live_with_parent, undisturbed_start
from bert_jax.memory import check_workers


class RandomAccess(Protocol):
    """Batches that can be made in any order."""

    def __len__(self) -> int:
        """Number of batches."""

    def __getitem__(self, index: int, /) -> Batch:
        """Make batch `index`."""


class Prefetched(Iterator[Batch]):
    """The batches `source[start], source[start + 1], …` in order; see `Batches.iterate`.

    Threads and processes end at the last batch, at `close()`, at the end of a `with` block, when
    the iterator is dropped and when the program ends, whichever comes first.
    """

    def __init__(
        self, source: RandomAccess, start: int, workers: int, threads: int, buffer: int
    ) -> None:
        """Get ready; the background work starts at the first `next`."""
        self._stream: Any = None
        if workers < 0 or threads < 1 or buffer < 1:
            raise ValueError(
                f"got workers={workers}, threads={threads}, buffer={buffer}; "
                "expected at least 0, 1, 1"
            )
        check_workers(workers)
        self._arguments = source, start, workers, threads, buffer
        self._from_workers = workers > 0
        self._closed = start == len(source)
        # grain cannot clean up once the interpreter takes its modules apart.
        self._close_at_exit = partial(_close, weakref.ref(self))

    def __next__(self) -> Batch:
        if self._closed:
            raise StopIteration
        begin: AbstractContextManager[None] = nullcontext()
        if self._stream is None:
            self._stream = _grain_stream(*self._arguments)
            atexit.register(self._close_at_exit)
            if self._from_workers:  # which grain starts when the first batch is asked for
                begin = undisturbed_start()
        try:
            with begin:
                batch = next(self._stream)
        except BaseException:
            self.close()
            raise
        return _parted(batch) if self._from_workers else batch

    def close(self) -> None:
        """Stop the background work; the iterator is exhausted from here on."""
        self._closed = True
        if self._stream is not None:
            stream, self._stream = self._stream, None
            atexit.unregister(self._close_at_exit)
            stream.close()

    def __enter__(self) -> "Prefetched":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _close(prefetched: "weakref.ref[Prefetched]") -> None:
    alive = prefetched()
    if alive is not None:
        alive.close()


def _grain_stream(
    source: RandomAccess, start: int, workers: int, threads: int, buffer: int
) -> Iterator[Any]:
    # Half a second to import, so only where batches are really made.
    import grain
    from absl import flags

    made = _Joined(source) if workers else source
    dataset = grain.MapDataset.source(made).slice(slice(start, None))
    stream = dataset.to_iter_dataset(grain.ReadOptions(threads, max(threads, buffer)))
    if workers:
        if not flags.FLAGS.is_parsed():  # a notebook, or a script of another style
            flags.FLAGS.mark_as_parsed()  # grain's own flags are read at their defaults
        stream = stream.mp_prefetch(grain.MultiprocessingOptions(workers, buffer), _begin)
    return iter(stream)


def _begin(worker: int, workers: int) -> None:
    del worker, workers
    live_with_parent()


@dataclass(frozen=True)
class _Layout:
    """Names, types and shapes of the arrays that were joined, in order."""

    arrays: tuple[tuple[str, np.dtype, tuple[int, ...]], ...]


@dataclass(frozen=True)
class _Joined:
    """Batches for the way between processes: all arrays in one.

    grain opens a block of shared memory for each array, which for ten small ones costs several
    times what making the batch does.
    """

    source: RandomAccess

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        batch = self.source[index]
        layout = _Layout(tuple((name, a.dtype, a.shape) for name, a in batch.items()))
        return {
            "bytes": np.concatenate([array.reshape(-1).view(np.uint8) for array in batch.values()]),
            "layout": layout,
        }


def _parted(joined: dict[str, Any]) -> Batch:
    """Undo `_Joined`, copying: the shared memory is given back at once.

    Blocks that are still held when the program ends would be reported as leaks.
    """
    content = np.array(joined["bytes"])
    batch, begin = {}, 0
    for name, dtype, shape in joined["layout"].arrays:
        end = begin + dtype.itemsize * int(np.prod(shape))
        batch[name] = content[begin:end].view(dtype).reshape(shape)
        begin = end
    return batch
