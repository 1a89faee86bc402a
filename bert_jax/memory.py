"""How much memory this process has held."""

import sys

try:
    import resource
except ImportError:  # Windows has no such module
    resource = None  # type: ignore[assignment]


def peak_rss_bytes(workers: int = 0) -> int:
    """The most memory this process has held so far, and `workers` times the greediest child's.

    0 where the system does not say.
    """
    if resource is None:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return unit * (own + child * workers)
