"""Shared by the whole suite: eight simulated devices and one compile cache a session."""

import os
import tempfile
from pathlib import Path

# Before jax is imported anywhere: subprocesses that tests start inherit both.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"bert_jax_tests_{os.getuid()}")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
