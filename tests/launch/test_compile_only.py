"""Compiling for machines that are not there: every flag wrong once; small cases that compile."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from launch.compiling import out_of_memory
from launch.machines import GIB, parse_topology
from tests.experiments.runs import REPOSITORY

SMALL = ("--model=tiny", "--vocab_size=1000", "--length=32", "--batch_size=16")


def compile_only(folder, *flags):
    """Run it in `folder`: status, standard error, the JSON."""
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "120"}
    del environment["JAX_NUM_CPU_DEVICES"]
    done = subprocess.run(
        [sys.executable, "-m", "launch.compile_only", *SMALL, "--json=out.json", *flags],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    written = folder / "out.json"
    return done, json.loads(written.read_text()) if written.exists() else None


def test_gpus_fit_and_send_a_gradient(tmp_path):
    done, result = compile_only(tmp_path, "--topology=h100:4", "--dtype=float32", "--hlo=step.txt")
    assert done.returncode == 0, done.stderr
    assert result["fits"] and result["mesh"] == {"dcn": 1, "data": 4, "fsdp": 1, "tensor": 1}
    # Every gradient once, that of the tied table too; beside them only counts and losses.
    gradients = 4 * result["parameters"]
    assert gradients <= result["collectives"]["all-reduce"]["payload"] < gradients + 1000
    # A CPU's kernels say nothing of a GPU's time; its own compiler's do.
    if result["own"]:
        least = result["least_seconds"]
        assert 0 < least["step"] < least["serial"] and 0 < result["mfu"] <= 1
        assert "tokens a second at most" in done.stdout and "The slowest kernels" in done.stdout
    else:
        assert result["least_seconds"] is None and result["mfu"] is None
        assert "not known: the kernels are a CPU's" in done.stdout
    assert "yes: " in done.stdout
    assert (tmp_path / "step.txt").read_text().startswith("HloModule")


@pytest.mark.parametrize(("given", "suggested"), [("none", "products"), ("layers", "layers")])
def test_what_does_not_fit_is_answered_with_what_would(tmp_path, given, suggested):
    # State and gradients of 40 million pieces, 100 GB, on every device; or a quarter of it. The
    # cheaper rematerialisation comes first, but never one that keeps more than what was given.
    flags = ("--topology=h100:4", "--vocab_size=40000000", "--batch_size=4", f"--remat={given}")
    done, result = compile_only(tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    assert not result["fits"] and result["memory"] > result["memory_of"]
    assert result["would_fit"] == f"--mesh=fsdp:4 --accumulate=1 --remat={suggested}"
    assert "no: " in done.stdout


@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="libtpu is not installed")
def test_a_tpu_program_of_two_slices_compiles(tmp_path):
    done, result = compile_only(tmp_path, "--topology=v5e:2x2", "--slices=2", "--batch_size=16")
    assert done.returncode == 0, done.stderr
    assert result["mesh"] == {"dcn": 2, "data": 4, "fsdp": 1, "tensor": 1}
    assert result["devices"] == 8 and result["fits"]


@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="libtpu is not installed")
@pytest.mark.parametrize("attention", ["einsum", "splash"])
def test_a_tpu_program_compiles(tmp_path, attention):
    kernel = [f"--attention={attention}", "--attention_dropout=0"]
    done, result = compile_only(tmp_path, "--topology=v5e:2x2", "--mesh=data:2,fsdp:2", *kernel)
    assert done.returncode == 0, done.stderr
    assert result["fits"] and result["compiler"] == "libtpu"
    assert result["memory"] >= result["arguments"] > 0
    assert result["bytes_sent_a_device"] > 0
    least = result["least_seconds"]
    assert 0 < least["step"] <= least["serial"] and 0 < result["mfu"] <= 1


@pytest.mark.parametrize(
    ("compiler", "topology"), [("libtpu", "v5e:2x2"), ("jax_cuda12_plugin", "h100:4")]
)
def test_a_kernel_with_dropout_compiles_and_holds_no_weights(tmp_path, compiler, topology):
    """For four devices, four rows each: a tpu_program, and a GPU's where its compiler is."""
    if not importlib.util.find_spec(compiler):
        pytest.skip(f"{compiler} is not installed")
    flags = (f"--topology={topology}", "--attention=flash", "--hlo=step.txt")
    done, _ = compile_only(tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    program = (tmp_path / "step.txt").read_text()
    for kernel in ("flash_forward", "flash_backward_of_queries", "flash_backward_of_keys"):
        assert f"/{kernel}/pallas_call" in program
    assert "[4,32,128]" in program  # [B, L, D]
    assert "[4,2,32,32]" not in program and "[8,32,32]" not in program  # [B, N, L, L]


def test_a_chip_of_tpu7x_is_two_devices():
    topology = parse_topology("tpu7x:2x2x1")
    assert (topology.chips, topology.count) == (4, 8)
    assert topology.count * topology.device.flops == 4 * 2307e12
    assert topology.count * topology.device.memory == 4 * 192 * GIB


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total"
            " memory required for HLO temporaries (25.50G) exceeds available HBM (15.75G). HLO",
            (25.5 * 2**30, 15.75 * 2**30),
        ),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 19.50G of 512.0M hbm.",
            (19.5 * 2**30, 2**29),
        ),
        ("INTERNAL: (1.00G) exceeds available HBM (1.00G)", None),
        ("RESOURCE_EXHAUSTED: no port is left", None),
    ],
)
def test_what_libtpu_says_of_memory_is_read(message, expected):
    assert out_of_memory(message) == expected


MISTAKES = {
    "--topology=v9:2x2": "got --topology=v9:2x2; expected KIND:SHAPE",
    "--slices=0": "flag --slices=0: 0 is not a positive integer",
    "--slices=2": "got --slices=2 of h100:4; expected it for TPUs, or --mesh=dcn:…",
    "--mesh=dcn:3": "got mesh dcn:3 x data:1 x fsdp:1 x tensor:1; expected sizes whose product is",
    "--topology=v5e:4": "got --topology=v5e:4; expected 2 numbers for v5e, as in v5e:2x4",
    "--topology=h100:12": "got --topology=h100:12; expected at most 8 GPUs, or a multiple of it",
    "--model=huge": "got --model=huge; expected a config.json or one of tiny",
    "--vocab_size=0": "flag --vocab_size=0: 0 is not a positive integer",
    "--length=600": "got --length=600; expected at most the model's 512 positions",
    "--batch_size=3": "got --batch_size=3; expected a multiple of 4",
    "--pack=0": "flag --pack=0: 0 is not a positive integer",
    "--mesh=data:3": "got mesh dcn:1 x data:3 x fsdp:1 x tensor:1; expected sizes whose product is",
    "--accumulate=0": "flag --accumulate=0: 0 is not a positive integer",
    "--optimizer=sdg": "flag --optimizer=sdg: value should be one of",
    "--optimizer=row_lazy_adamw": "got a row-lazy optimiser with a tied decoder",
    "--attention=ring": "flag --attention=ring: value should be one of",
    "--attention=splash": "--attention=auto, or that rate to be 0",
    "--attention_dropout=1": "flag --attention_dropout=1: 1.0 is not a number in the range",
    "--remat=some": "flag --remat=some: value should be one of",
    "--dtype=int8": "flag --dtype=int8: value should be one of",
    "--scan_layers=maybe": "flag --scan_layers=maybe",
    "--suggest=maybe": "flag --suggest=maybe",
    "--hlo=nowhere/out.txt": "got 'nowhere/out.txt', which cannot be written",
    "--json=nowhere/out.json": "got 'nowhere/out.json', which cannot be written",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """All mistakes in one process, since importing jax takes seconds."""
    script = """
import contextlib, io, json, sys
from absl.testing import flagsaver
from bert_jax.cli import command
from launch import compile_only
outcomes = []
for arguments in json.load(sys.stdin):
    sys.argv, errors, status = ["launch/compile_only.py", *arguments], io.StringIO(), 0
    with flagsaver.flagsaver(), contextlib.redirect_stderr(errors):
        try:
            command.run(compile_only.main)
        except SystemExit as stopped:
            status = stopped.code
    outcomes.append([status, errors.getvalue()])
print(json.dumps(outcomes))
"""
    usual = [*SMALL, "--topology=h100:4"]
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps([[*usual, flag] for flag in MISTAKES]),
        cwd=tmp_path_factory.mktemp("mistakes"), capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(MISTAKES, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(outcomes, mistake):
    status, printed = outcomes[mistake]
    lines = printed.splitlines()
    assert status == 2
    assert len(lines) == 1 and lines[0].startswith("launch.compile_only: ")
    assert MISTAKES[mistake] in printed
