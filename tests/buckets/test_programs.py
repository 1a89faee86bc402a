"""Programs that are compiled for a run in a bucket lie beside it, for every machine."""

import os
import subprocess
import sys

from bert_jax.bucket import Prefix
from tests.buckets.servers import BUCKET
from tests.experiments.runs import REPOSITORY

COMPILES = f"""
import jax
from bert_jax import bucket
from bert_jax.cli.compiled_programs import keep_programs
bucket._ANSWER_SECONDS = 1.0
keep_programs(None, "gs://{BUCKET}/runs/mine")
found = []
jax.monitoring.register_event_listener(lambda event, **_: found.append(event))
print(jax.jit(lambda x: 2 * x + 1)(3.0), found.count("/jax/compilation_cache/cache_hits"))
"""


def test_another_machine_finds_them_though_a_request_is_not_answered(gcs):
    printed = []
    here = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    for machine in (1, 2):
        if machine == 2:
            gcs.silent_every = gcs.asked + 1  # is given up and made again, by a library, too
        done = subprocess.run(
            [sys.executable, "-c", COMPILES], env=here | {"PYTHONPATH": str(REPOSITORY)},
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        printed.append(done.stdout)
    assert printed == ["7.0 0\n", "7.0 1\n"]
    names = Prefix(f"gs://{BUCKET}/runs/compiled_programs").objects()
    assert len(names) == 1 and all(name.endswith("-cache") for name in names)
