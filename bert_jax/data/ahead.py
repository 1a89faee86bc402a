"""Work that a device does while its host prepares the next of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Started = TypeVar("Started")
Result = TypeVar("Result")


def one_ahead(
    items: Iterable[Item], start: Callable[[Item], Started], finish: Callable[[Started], Result]
) -> Iterator[tuple[Item, Result]]:
    """Give each item with its result, in order; the next is started before one is waited for.

        host      make 1, start 1, make 2, start 2, wait for 1, make 3, start 3, wait for 2 …
        device                     1 1 1 1 1 1 1    2 2 2 2 2 2 2 2 2 2 2 2      3 3 3 3 3 3

    Args:
        items: made one by one, while the device works.
        start: begins the work on an item, and returns at once.
        finish: waits for it.
    """
    waiting: tuple[Item, Started] | None = None
    for item in items:
        running = item, start(item)
        if waiting is not None:
            yield waiting[0], finish(waiting[1])
        waiting = running
    if waiting is not None:
        yield waiting[0], finish(waiting[1])
