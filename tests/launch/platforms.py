"""Platforms acted out on this machine: real launch scripts and processes, machines that go away.

    platform = Gke(folder, ["pretrain", "--workdir=…"])
    platform.begin()            # asks for the run as a user would; a thread is the cluster
    platform.lose()             # takes the machine away; also drain(), told_to_stop(), kill()
    platform.outcome()          # "finished", "failed" or "mistake", as the platform would say

What is done after a process has ended stands in what our scripts give to the platform (the JobSet's
YAML, the #SBATCH lines, the unit, sky.yaml), and is read from there.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
_TRIES = 20  # a platform that starts a run again for ever is stopped


def checkout(place, python):
    """A checkout whose environment is there, as after launch/setup.sh, with another python."""
    place.mkdir(parents=True, exist_ok=True)
    for name in ("bert_jax", "experiments", "constraints.txt", "pyproject.toml", ".python-version"):
        if not (place / name).exists():
            (place / name).symlink_to(ROOT / name)
    if not (place / "launch").exists():
        shutil.copytree(ROOT / "launch", place / "launch")
    (place / ".venv/bin").mkdir(parents=True, exist_ok=True)
    shim(place / ".venv/bin/python", f'exec {python} "$@"')
    for extra in ("tpu", "cuda"):
        wanted = (
            'echo "$(cat .python-version) %s $(cksum <constraints.txt) $(cksum <pyproject.toml)"'
        )
        said = subprocess.run(
            ["bash", "-c", wanted % extra], cwd=place, capture_output=True, check=True
        )
        (place / f".venv/{extra}").write_bytes(said.stdout)
    return place


def ready(place, extra):
    """Leave what launch/setup.sh leaves when it has installed an extra."""
    shutil.copy(place / ".venv" / extra, place / ".venv/bert_jax.installed")


def shim(path, body):
    """An executable of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def status_of(process):
    """An exit status as a shell says it: 137 after kill -9."""
    status = process.wait()
    return status if status >= 0 else 128 - status


def processes_with(words):
    """The ids of the processes with these words in their command line."""
    found = []
    for each in Path("/proc").iterdir():
        with suppress(OSError):
            if each.name.isdecimal() and words.encode() in (each / "cmdline").read_bytes():
                found.append(int(each.name))
    return found


class Platform:
    """What all have: a folder, the experiment's words, and its process."""

    extra = "cuda"

    def __init__(self, folder, words, python=sys.executable, environment=()):
        self.folder, self.words = folder, list(words)
        self.made = next(word.partition("=")[2] for word in words if word.startswith("--workdir="))
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True, exist_ok=True)
        self.home = checkout(folder / "checkout", python)
        ready(self.home, self.extra)
        self.job = int.from_bytes(os.urandom(3))
        self.environment = {
            **os.environ, **dict(environment), "FAKE": str(folder), "JOB": str(self.job),
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip
        self.tries, self.gone, self._said = 0, False, None

    def begin(self):
        self._thread = threading.Thread(target=self._act, daemon=True)
        self._thread.start()

    def _act(self):
        try:
            self._said = self.control()
        except BaseException as error:
            self._said = repr(error)
            raise

    def outcome(self, timeout=1200):
        self._thread.join(timeout)
        assert not self._thread.is_alive(), (self.folder / "log").read_text()[-3000:]
        return self._said

    def start(self, command, **changes):
        self.tries += 1
        assert self.tries < _TRIES
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.home, env=self.environment | changes, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def processes(self):
        """The process ids of the experiment itself."""
        return processes_with(f"\0experiments.pretrain\0--workdir={self.made}\0")

    def signal(self, which, *others):
        for pid in (*others, *self.processes()):
            with suppress(ProcessLookupError):
                os.kill(pid, which)

    def told_to_stop(self):
        """SIGTERM to the experiment, from nobody that the platform knows of."""
        self.signal(signal.SIGTERM)

    def kill(self):
        self.signal(signal.SIGKILL)


def distributed(job):
    """How jax finds the only process; on the real platforms their metadata say it."""
    return {
        "SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
    }  # fmt: skip


class Local(Platform):
    """A user, who says the same again until the run is finished."""

    def control(self):
        while True:
            words = [self.home / "launch/local.sh", "--restarts=3", "--", *self.words]
            self.script = self.start(words)
            status = status_of(self.script)
            if status in (0, 1, 2):
                return ("finished", "failed", "mistake")[status]

    def told_to_stop(self):
        self.script.terminate()

    def drain(self):
        self.signal(signal.SIGTERM, self.script.pid)

    def lose(self):
        self.signal(signal.SIGKILL, self.script.pid)


class Slurm(Platform):
    """sbatch, srun, scancel and scontrol."""

    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        (self.folder / "spool").mkdir()
        self.script = shutil.copy(self.home / "launch/slurm.sh", self.folder / "spool/slurm_script")
        lines = Path(self.script).read_text().splitlines()
        self.options = [line.split()[1] for line in lines if line.startswith("#SBATCH ")]
        shim(
            self.bin / "srun",
            'while [[ $1 == --* ]]; do shift; done; [ "$SRUN_CPUS_PER_TASK" = 12 ] || exit 9\n'
            'echo $$ >"$FAKE/step"; exec "$@"',
        )
        shim(self.bin / "scancel", '[ "$1" = --signal=TERM ] && kill -TERM "$(cat "$FAKE/step")"')
        shim(self.bin / "scontrol", 'touch "$FAKE/$1"')

    def control(self):
        while True:
            (self.folder / "requeue").unlink(missing_ok=True)
            self.gone = False
            self.batch = self.start(
                ["bash", self.script, *self.words],
                **distributed(self.job), SLURM_SUBMIT_DIR=str(self.home), SLURM_CPUS_PER_TASK="12",
                SLURM_RESTART_COUNT=str(self.tries),
            )  # fmt: skip
            status = status_of(self.batch)
            if (self.folder / "requeue").exists() or (self.gone and "--requeue" in self.options):
                continue
            return {0: "finished", 2: "mistake"}.get(status, "failed")

    def drain(self):
        if any(option.startswith("--signal=B:TERM@") for option in self.options):
            self.batch.terminate()
        else:
            self.signal(signal.SIGTERM)

    def lose(self):
        self.gone = True
        self.signal(signal.SIGKILL, self.batch.pid)


class Gke(Platform):
    """kubectl, the Job controller and the JobSet controller, one pod."""

    extra = "tpu"

    def control(self):
        shim(self.bin / "kubectl", 'cat >"$FAKE/job_set.yaml"')
        flags = [
            "--name=b", "--image=i", "--accelerator=a", "--topology=1x1", "--claim=c",
            "--restarts=3", "--",
        ]  # fmt: skip
        words = [word.replace(f"={self.folder}/disk/", "=/data/") for word in self.words]
        subprocess.run(
            [self.home / "launch/gke.sh", *flags, *words], env=self.environment, check=True
        )
        spec = yaml.safe_load((self.folder / "job_set.yaml").read_text())["spec"]
        (replicated,) = spec["replicatedJobs"]
        self.job_spec = replicated["template"]["spec"]
        policy = spec["failurePolicy"]
        for _ in range(policy["maxRestarts"] + 1):
            reason = self._job()
            if reason is None:
                return "finished"
            for rule in policy["rules"]:
                if reason in rule["onJobFailureReasons"]:
                    assert rule["action"] == "FailJobSet"
                    return "mistake"
        return "failed"

    def _job(self):
        """Run pods until one succeeds; else the reason why the Job has failed."""
        pod = self.job_spec["template"]["spec"]
        (container,) = pod["containers"]
        (mount,) = container["volumeMounts"]
        disk = f"{self.folder}/disk"
        words = [*container["command"], *container["args"]]
        words = [word.replace(f"={mount['mountPath']}/", f"={disk}/") for word in words]
        self.grace, failures = pod["terminationGracePeriodSeconds"], 0
        assert pod["shareProcessNamespace"] and pod["restartPolicy"] == "Never"
        while True:
            self.gone = False
            self.pod = self.start(words, **distributed(self.job))
            status = status_of(self.pod)
            if status == 0:
                return None
            action = self._matched(status)
            if action == "FailJob":
                return "PodFailurePolicy"
            if action == "Ignore":
                continue
            failures += 1
            if failures > self.job_spec["backoffLimit"]:
                return "BackoffLimitExceeded"

    def _matched(self, status):
        conditions = {("DisruptionTarget", str(self.gone))}
        for rule in self.job_spec["podFailurePolicy"]["rules"]:
            codes = rule.get("onExitCodes")
            if codes and codes["operator"] == "In" and status in codes["values"]:
                return rule["action"]
            if any((c["type"], c["status"]) in conditions for c in rule.get("onPodConditions", ())):
                return rule["action"]
        return "Count"

    def drain(self):
        self.gone = True
        self.pod.terminate()
        threading.Timer(self.grace, self.pod.kill).start()

    def lose(self):
        self.gone = True
        self.pod.kill()


class Sky(Platform):
    """`sky jobs launch launch/sky.yaml --env RUN=…`: the controller of a managed job, one node."""

    def control(self):
        task = yaml.safe_load((self.home / "launch/sky.yaml").read_text())
        recovery, restarts = task["resources"]["job_recovery"], 0
        assert task["resources"]["use_spot"] and task["num_nodes"] == 1
        environment = task["envs"] | {
            "RUN": shlex.join(self.words), "SKYPILOT_NUM_NODES": "1", "SKYPILOT_NODE_RANK": "0",
        }  # fmt: skip
        while True:
            self.gone = False
            setup = ["bash", "-c", task["setup"]]
            subprocess.run(setup, cwd=self.home, env=self.environment | environment, check=True)
            self.node = self.start(["bash", "-c", task["run"]], **environment)
            status = status_of(self.node)
            if self.gone or status in recovery["recover_on_exit_codes"]:
                continue
            if status == 0:
                return "finished"
            restarts += 1
            if restarts > recovery["max_restarts_on_errors"]:
                return {2: "mistake"}.get(status, "failed")

    def drain(self):
        self.gone = True
        self.signal(signal.SIGTERM)

    def lose(self):
        self.gone = True
        self.signal(signal.SIGKILL)


_GCLOUD = r"""
cd "$FAKE"
vm=$(printf '%s\n' "$@" | grep -o '^b-[0-9]*' | head -n 1)
case "$*" in
    *"managed list-instances"*)
        [ -f group ] || { echo "The resource 'b' was not found" >&2; exit 1; }
        for each in vms/*/state; do
            [ ! -f "$each" ] || echo "$(basename "$(dirname "$each")") $(cat "$each")"
        done ;;
    *"managed create"*)
        touch group; n=$(($(cat count 2>/dev/null || echo 0) + 1)); echo $n >count
        mkdir -p "vms/b-$n"; cp -a machine/. "vms/b-$n/"; echo RUNNING >"vms/b-$n/state" ;;
    *"managed delete"*) rm -rf vms group ;;
    *" describe "*) exit 1 ;;
    *" scp "*) [ -d "vms/$vm" ] && cp "$3" "vms/$vm/bert_jax.tar.gz" ;;
    *" ssh "*)
        [ "$(cat "vms/$vm/state" 2>/dev/null)" = RUNNING ] || exit 255
        export HOME="$FAKE/vms/$vm"; cd
        for word in "$@"; do case $word in --command=*) exec bash -c "${word#*=}" ;; esac; done ;;
esac
"""


_SYSTEMCTL = """
case $1 in
    restart)
        setsid {python} {file} </dev/null >/dev/null 2>&1 &
        while ! [ -f "$HOME/show" ]; do sleep 0.1; done ;;
    show) cat "$HOME/show" 2>/dev/null || echo LoadState=not-found ;;
esac
"""


class ComputeEngine(Platform):
    """gcloud with one machine in a group, and its systemd."""

    extra = "tpu"

    def control(self):
        machine = checkout(self.folder / "machine/bert_jax", self._python())
        ready(machine, "tpu")
        for name in ("bert_jax", "experiments", "launch"):  # they come by scp
            with suppress(OSError):
                (machine / name).unlink()
        for name in ("constraints.txt", "pyproject.toml", ".python-version"):
            (machine / name).unlink()
        shutil.rmtree(machine / "launch")
        shim(self.bin / "gcloud", _GCLOUD)
        shim(self.bin / "sudo", 'if [ "$1" = tee ]; then exec tee "$HOME/unit"; fi; exec "$@"')
        shim(self.bin / "systemctl", _SYSTEMCTL.format(python=sys.executable, file=__file__))
        words = [
            ROOT / "launch/compute_engine.sh", "resume", "--name=b", "--zone=us-east5-a",
            "--machine=ct6e-standard-4t", "--spot", "--poll=1", "--", *self.words,
        ]  # fmt: skip
        status = status_of(self.start(words, **distributed(self.job)))
        return {0: "finished", 2: "mistake"}.get(status, "failed")

    def _python(self):
        line = (self.home / ".venv/bin/python").read_text().splitlines()[1]
        return line.removeprefix("exec ").removesuffix(' "$@"')

    def starts(self):
        """How often systemd started the experiment."""
        return sum(int(path.read_text()) for path in self.folder.glob("vms/*/starts"))

    def drain(self):
        (machine,) = self.folder.glob("vms/*")
        (machine / "stopping").touch()
        self.signal(signal.SIGTERM)
        while self.processes():
            time.sleep(0.05)
        (machine / "state").write_text("TERMINATED\n")

    def lose(self):
        (machine,) = self.folder.glob("vms/*")
        (machine / "stopping").touch()
        self.signal(signal.SIGKILL)
        (machine / "state").unlink()


PLATFORMS = {
    "local": Local, "Slurm": Slurm, "GKE": Gke, "Compute Engine": ComputeEngine, "SkyPilot": Sky,
}  # fmt: skip


# What follows is systemd, of the machine whose home is $HOME.


def _unit(home):
    lines = (line.partition("=") for line in (home / "unit").read_text().splitlines())
    return {name: value for name, _, value in lines if value}


def _write(home, active, code=0, status=0):
    said = {
        "LoadState": "loaded", "ActiveState": active, "ExecMainCode": code, "ExecMainStatus": status
    }  # fmt: skip
    (home / "show.tmp").write_text("".join(f"{name}={value}\n" for name, value in said.items()))
    (home / "show.tmp").rename(home / "show")


def _supervise(home):
    """What systemd does with a service; a tenth of the time it waits before it starts it again."""
    unit, begun = _unit(home), []
    words = [w.replace("%%", "%").replace("$$", "$") for w in shlex.split(unit["ExecStart"])]
    while home.exists():
        begun.append(time.monotonic())
        (home / "starts").write_text(str(len(begun)))
        _write(home, "active")
        with (home / "journal").open("ab") as log:
            run = subprocess.Popen(words, cwd=unit["WorkingDirectory"], stdout=log, stderr=log)
        status = run.wait()
        code, status = (1, status) if status >= 0 else (2, -status)
        if (home / "stopping").exists():
            return _write(home, "inactive", code, status)
        if code == 1 and str(status) in unit["RestartPreventExitStatus"].split():
            return _write(home, "failed" if status else "inactive", code, status)
        clean = status == 0 if code == 1 else status in (1, 2, 13, 15)
        again = {"always": True, "on-failure": not clean, "no": False}[unit["Restart"]]
        if not again or len(begun) >= int(unit["StartLimitBurst"]):
            return _write(home, "failed", code, status)
        _write(home, "activating", code, status)
        time.sleep(int(unit["RestartSec"]) / 10)
    return None


if __name__ == "__main__":
    _supervise(Path.home())
