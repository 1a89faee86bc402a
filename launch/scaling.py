r"""A plan on paper: BERT-base and -large on machines you do not have, from the compiler's figures.

    python -m launch.scaling --workdir=runs/scaling

Compiles the two phases of the published recipe (1,000,000 steps of 256 rows, 40 epochs of 3.3
billion words; nine tenths with rows of 128 tokens, one tenth with 512) for every machine, with
`launch.compile_only`'s code, and prints docs/scaling.md's tables: what a device holds and sends,
what bounds a step, how many cores feed it, hours for the whole recipe and how much of it a day
buys. Steps are larger than 256 rows where machines are, and fewer, so that the tokens are the
same. What is compiled is kept: the same command goes on where it was stopped. Needs '.[tpu]', and
'.[cuda]' for the figures of GPUs to be their compiler's own.
"""

import dataclasses
import json
from pathlib import Path

import jax
from absl import flags

from bert_jax.analysis.flops import RowShape, training_flops
from bert_jax.cli import command
from bert_jax.config import PRESETS, BertConfig
from bert_jax.data.masking import default_max_predictions
from bert_jax.errors import UserError
from bert_jax.kernels.compute import scans_layers
from bert_jax.whole_file import write_json

from .collectives import total_sent
from .compiling import Plan, compile_plan, what_would_fit
from .least_time import least_time
from .machines import GIB, Topology, parse_topology

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", "runs/scaling", "Holds what was compiled, and the table.")
flags.DEFINE_list("models", ["base", "large"], "Presets.")
flags.DEFINE_list("topologies", ["v5e:2x4", "h100:8", "v5e:16x16", "h100:256"], "KIND:SHAPE each.")
flags.DEFINE_float("mfu", 0.4, "Share of the peak that a real run is taken to reach.", 0.01, 1.0)
flags.DEFINE_float(
    "loader_rate", 17e6, "Tokens a second of one core, from experiments.benchmarks.loader.",
    lower_bound=1.0,
)  # fmt: skip

_PHASES = ((128, 0.9), (512, 0.1))
_RECIPE_ROWS = 256 * 1_000_000  # of either length
_EPOCHS = 40
_TOKENS_A_DEVICE = {"v5e": 8192, "h100": 16384}  # in a step


@dataclasses.dataclass(frozen=True)
class Cell:
    """One phase of one model on one machine, as compiled.

    Attributes:
        batch_size: rows of a step, over all devices.
        memory: bytes a device holds at once.
        sent: bytes a device sends in a step.
        flops: of a row.
        compute, wire, memory_time: least seconds of a step, each resource alone.
    """

    topology: str
    model: str
    length: int
    batch_size: int
    flags: str
    fits: bool
    memory: float
    memory_of: float
    sent: float
    flops: float
    compute: float
    wire: float
    memory_time: float

    @property
    def mfu_bound(self) -> float:
        """The share of the peak that no schedule exceeds."""
        return self.compute / max(self.compute, self.wire, self.memory_time)

    @property
    def wire_bound_rows(self) -> float:
        """Below so many rows a step, sending takes longer than computing."""
        return self.batch_size * self.wire / self.compute

    def seconds(self, rows: float, mfu: float) -> float:
        """To train on so many rows at a share of the peak, or at the bound where that is lower."""
        return rows / self.batch_size * self.compute / min(mfu, self.mfu_bound)


def main() -> None:
    """Compile what is not there yet, then print."""
    jax.config.update("jax_platforms", "cpu")
    for model in FLAGS.models:
        if model not in PRESETS:
            raise UserError(f"got --models={model}; expected some of {', '.join(PRESETS)}")
    topologies = {name: parse_topology(name) for name in FLAGS.topologies}
    for name, topology in topologies.items():
        if topology.kind not in _TOKENS_A_DEVICE:
            raise UserError(f"got --topologies={name}; expected v5e and h100 machines")
    workdir = Path(FLAGS.workdir)
    text = ""
    for model in FLAGS.models:
        plans = {
            name: [_cell(workdir, name, topology, model, length) for length, _ in _PHASES]
            for name, topology in topologies.items()
        }
        text += f"\n**BERT-{model}**\n\n{_table(plans)}"
        (workdir / "table.md").write_text(text)
    print(text)


def _cell(workdir: Path, name: str, topology: Topology, model: str, length: int) -> Cell:
    saved = workdir / f"{model}_{name.replace(':', '_')}_{length}.json"
    if saved.exists():
        return Cell(**json.loads(saved.read_text()))
    print(f"compiling {model} for {name}, rows of {length}", flush=True)
    config = getattr(BertConfig, model)(vocab_size=30522)
    batch_size = topology.count * _TOKENS_A_DEVICE[topology.kind] // length
    predictions = default_max_predictions(length)
    optimizer = "adamw" if batch_size <= 2048 else "lamb"
    plan = Plan(
        config, {"data": -1}, batch_size, length, predictions, optimizer=optimizer,
        scan_layers=scans_layers(topology.device.platform),
    )  # fmt: skip
    compiled = compile_plan(topology, plan)
    if not compiled.fits:
        plan, compiled = what_would_fit(topology, plan) or (plan, compiled)
    flops = training_flops(config, RowShape(length, predictions, 1))
    least = least_time(topology, compiled, flops * batch_size)
    mesh = ",".join(f"{axis}:{size}" for axis, size in compiled.mesh.items() if size != 1)
    options = f"--optimizer={optimizer} --remat={plan.remat} --accumulate={plan.accumulate}"
    cell = Cell(
        name, model, length, batch_size, f"--mesh={mesh} {options}",
        compiled.fits, compiled.memory, compiled.memory_of, total_sent(compiled.collectives), flops,
        least.compute, least.interconnect, least.memory,
    )  # fmt: skip
    write_json(saved, dataclasses.asdict(cell))
    return cell


def _table(plans: dict[str, list[Cell]]) -> str:
    rows: list[list[str]] = []
    for cells in zip(*plans.values(), strict=True):
        length = cells[0].length
        rows += [
            [f"rows of {length}: batch", *(f"{cell.batch_size:,}" for cell in cells)],
            ["flags", *(f"`{_said(cell.flags)}`" for cell in cells)],
            ["memory, GiB a device", *(_memory(cell) for cell in cells)],
            ["sent a device a step, MB", *(f"{cell.sent / 1e6:,.0f}" for cell in cells)],
            ["step at least, ms", *(f"{_least(cell) * 1e3:.1f}" for cell in cells)],
            ["of it compute / wire / memory, ms", *(_parts(cell) for cell in cells)],
            ["MFU at most", *(f"{cell.mfu_bound:.0%}" for cell in cells)],
            [
                "wire-bound below, rows",
                *(f"{cell.wire_bound_rows:,.0f}" for cell in cells),
            ],
        ]
    mfu = FLAGS.mfu
    bound = [_hours(cells, 1.0) for cells in plans.values()]
    real = [_hours(cells, mfu) for cells in plans.values()]
    rows += [
        ["40 epochs at the bound, hours", *(f"{hours:,.2f}" for hours in bound)],
        [f"40 epochs at {mfu:.0%} of the peak, hours", *(f"{hours:,.2f}" for hours in real)],
        [f"epochs in a day at {mfu:.0%}", *(f"{_EPOCHS * 24 / hours:,.0f}" for hours in real)],
        ["loader cores for all hosts, at the bound", *(_cores(cells) for cells in plans.values())],
    ]
    lines = [["", *plans], ["---"] * (len(plans) + 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _said(options: str) -> str:
    """Without what is so by default."""
    usual = ("--remat=none", "--accumulate=1", "--optimizer=adamw")
    return " ".join(option for option in options.split() if option not in usual)


def _memory(cell: Cell) -> str:
    shown = f"{cell.memory / GIB:.1f} of {cell.memory_of / GIB:.0f}"
    return shown if cell.fits else f"{shown}: does not fit"


def _least(cell: Cell) -> float:
    return max(cell.compute, cell.wire, cell.memory_time)


def _parts(cell: Cell) -> str:
    return " / ".join(f"{1e3 * part:.1f}" for part in (cell.compute, cell.wire, cell.memory_time))


def _hours(cells: list[Cell], mfu: float) -> float:
    shares = [share for _, share in _PHASES]
    seconds = (
        cell.seconds(_RECIPE_ROWS * share, mfu) for cell, share in zip(cells, shares, strict=True)
    )
    return sum(seconds) / 3600


def _cores(cells: list[Cell]) -> str:
    rate = max(cell.batch_size * cell.length / _least(cell) for cell in cells)
    return f"{rate / FLAGS.loader_rate:.1f}"


if __name__ == "__main__":
    command.run(main, alone_in="workdir")
