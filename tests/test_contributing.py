"""What CONTRIBUTING and the files beside it repeat is what it is where it comes from."""

import re
import tomllib

import yaml

import bert_jax
from launch.gpu_targets import gpu_target
from launch.machines import DEVICES
from tests.readme_blocks import ROOT

PINS = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.M))
SUITES = (ROOT / "CONTRIBUTING.md").read_text().split("## The suites")[1].split("\n## ")[0]


def test_the_version_is_the_package_s():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == bert_jax.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest and newest[1] == bert_jax.__version__


def test_pre_commit_calls_the_pinned_versions():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    pinned = [pin for hook in repo["hooks"] for pin in hook.get("additional_dependencies", [])]
    assert pinned == [f"ruff=={PINS['ruff']}"] * 2
    called = [hook["entry"] for hook in repo["hooks"]]
    checks = re.search(r'step "ruff, mypy"\n(.*?)\n\n', (ROOT / ".ci/run").read_text(), re.S)
    as_ci = ["ruff check .", "ruff format --check .", "mypy"]
    assert checks and checks[1].split("\n") == as_ci
    assert called == ["ruff check", "ruff format", "python3 -m mypy"]


def test_the_table_of_suites_has_every_marker_and_every_file_that_ci_runs():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    markers = [marker.partition(":")[0] for marker in options["markers"]]
    assert [marker for marker in markers if f"| `{marker}`" not in SUITES] == []
    run = re.findall(r"tests/[\w/.]+", (ROOT / ".ci/run").read_text())
    assert [path for path in run if path not in SUITES] == []
    chosen = re.findall(r'-k ("[^"]+"|\w+)', (ROOT / ".ci/run").read_text())
    assert chosen and [words for words in chosen if f"-k {words}" not in SUITES] == []


def test_the_workflow_runs_what_must_pass():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert {"run": ".ci/run"} in workflow["jobs"]["ci"]["steps"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o100


def test_every_gpu_of_a_topology_has_a_target_for_its_compiler():
    for kind in (kind for kind, device in DEVICES.items() if device.platform == "gpu"):
        held = re.search(r"device_memory_size: (\d+)", gpu_target(kind))
        assert held and abs(int(held[1]) / DEVICES[kind].memory - 1) < 0.1
