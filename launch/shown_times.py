"""A roofline as rows of a table."""

from __future__ import annotations

from pathlib import Path

from .least_time import Cost, LeastTime

_DEAREST = 10
_REPOSITORY = Path(__file__).parents[1]


def shown_times(least: LeastTime) -> dict[str, str]:
    """What a step takes, and for what."""
    return {
        "step at least": _ms(least.step),
        "  and where no kernel overlaps its parts": _ms(least.serial),
        "  products": _ms(least.products),
        "  other operations": _ms(least.instructions),
        "  memory": _ms(least.memory),
        "  launches": _ms(least.launches),
        "  waiting": _ms(least.waiting),
        "sending, hidden or not": _ms(least.sending),
        "FLOPs of products": f"{least.work.products:.4g}",
        "bytes of memory": f"{least.work.bytes:.4g}",
    }


def shown_kernels(least: LeastTime) -> dict[str, str]:
    """The ten slowest kernels and where they come from."""
    return {str(i + 1): _kernel(cost) for i, cost in enumerate(least.kernels[:_DEAREST])}


def _kernel(cost: Cost) -> str:
    place = cost.place.removeprefix(f"{_REPOSITORY}/")
    times = f"{_ms(cost.total)}: {cost.count} x {1e6 * cost.seconds:.0f} us"
    return f"{times} of {cost.bound}; {place}; {cost.what}"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms"
