"""How much memory this process takes."""

from __future__ import annotations

import sys


def peak_rss_bytes() -> int:
    """The most memory this process has held so far; 0 where the system does not say."""
    try:
        import resource  # not on Windows
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
