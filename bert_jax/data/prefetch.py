"""Making batches ahead of time: threads or worker processes, by grain."""

from collections.abc import Iterator
from typing import Protocol, TypeVar

T = TypeVar("T", covariant=True)


class RandomAccess(Protocol[T]):
    """Anything with a length whose items can be made in any order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> T: ...


def prefetched(
    source: RandomAccess[T], start: int, workers: int, threads: int, buffer: int
) -> Iterator[T]:
    """Yield `source[start], source[start + 1], …` in order; see `Batches.iterate`.

    A generator, so that leaving a `for` loop or dropping it stops threads and processes.
    """
    # Half a second to import, so only where batches are really made.
    import grain
    from absl import flags

    if workers < 0 or threads < 1 or buffer < 1:
        raise ValueError(
            f"got workers={workers}, threads={threads}, buffer={buffer}; expected >= 0, >= 1, >= 1"
        )
    if start == len(source):
        return
    dataset = grain.MapDataset.source(source).slice(slice(start, None))
    stream = dataset.to_iter_dataset(grain.ReadOptions(threads, max(threads, buffer)))
    if workers:
        if not flags.FLAGS.is_parsed():  # a notebook, or a script of another style
            flags.FLAGS.mark_as_parsed()  # grain's own flags are read at their defaults
        stream = stream.mp_prefetch(grain.MultiprocessingOptions(workers, buffer))
    iterator = iter(stream)
    try:
        yield from iterator
    finally:
        iterator.close()
