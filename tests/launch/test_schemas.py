"""The YAML of launch/ against the schemas of those who will read it.

In an environment of its own, since SkyPilot wants much (`.ci/run` has the commands).
"""

import subprocess
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"
GKE = (
    "--name=base", "--image=registry/bert_jax:1", "--accelerator=tpu-v5-lite-podslice",
    "--topology=4x4", "--hosts=4", "--claim=runs", "--dry_run",
    "--", "pretrain", "--model=base", "--workdir=/data/runs/base", '--words=a "b",c\\d',
)  # fmt: skip


def test_the_jobs_of_the_job_set_are_those_kubernetes_knows():
    """JobSet's own fields are few (`test_scripts.py`); what it makes of them is an ordinary Job."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    yaml = pytest.importorskip("yaml")
    done = subprocess.run([LAUNCH / "gke.sh", *GKE], capture_output=True, text=True, check=True)
    job_set = yaml.safe_load(done.stdout)
    (replicated,) = job_set["spec"]["replicatedJobs"]
    job = {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": job_set["metadata"],
        "spec": replicated["template"]["spec"],
    }  # fmt: skip
    kubernetes_validate.validate(job, "1.32", strict=True)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][2:] == ['--words=a "b",c\\d', "--distributed"]
    job["spec"]["paralelism"] = 4
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.32", strict=True)


def test_skypilot_reads_its_task():
    sky = pytest.importorskip("sky")
    task = sky.Task.from_yaml(str(LAUNCH / "sky.yaml"))
    (resources,) = task.resources
    assert resources.accelerators == {"H100": 8}
    assert task.envs == {"RUN": "", "EXTRA": "cuda"}
    assert resources.job_recovery["recover_on_exit_codes"] == [143]
    (store,) = task.storage_mounts.values()
    assert store.mode is sky.StorageMode.MOUNT_CACHED
