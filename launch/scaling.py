r"""A plan on paper: BERT-base and -large on machines you do not have, from the compiler's figures.

    python -m launch.scaling --workdir=runs/scaling

Compiles the two phases of the published recipe (1,000,000 steps of 256 rows, 40 epochs of 3.3
billion words; nine tenths with rows of 128 tokens, one tenth with 512) for every machine, with
`launch.compile_only`'s code, and prints docs/scaling.md's tables: what a device holds and sends,
how long a step takes by a roofline over the compiled program (`launch.least_time`) and for what,
how many cores feed it, hours for the whole recipe and how much of it a day buys. Steps are larger
than 256 rows where machines are, and fewer, so that the tokens are the
same. What is compiled is kept: the same command goes on where it was stopped. Needs '.[tpu]' for
TPUs and '.[cuda]' for GPUs.
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
from bert_jax.training.workdir import own_workdir
from bert_jax.whole_file import write_json

from .collectives import total_sent
from .compiling import Plan, compile_plan, what_would_fit
from .hlo import parse_hlo
from .least_time import least_time
from .machines import GIB, Topology, parse_topology

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", "runs/scaling", "Folder for compiled programs and the table.")
flags.DEFINE_list("models", ["base", "large"], "Model presets.")
flags.DEFINE_list(
    "topologies", ["v5e:2x4", "tpu7x:2x2x1", "h100:8", "h200:8", "b200:8", "v5e:16x16", "h100:256"],
    "Devices, each as KIND:SHAPE.",
)  # fmt: skip
flags.DEFINE_float(
    "loader_rate", 17e6, "Tokens per second of one core, from experiments.benchmarks.loader.",
    lower_bound=1.0,
)  # fmt: skip

_PHASES = ((128, 0.9), (512, 0.1))
_RECIPE_ROWS = 256 * 1_000_000  # of either length
_EPOCHS = 40
_TOKENS_A_DEVICE = {"v5e": 8192, "tpu7x": 16384, "h100": 16384, "h200": 16384, "b200": 16384}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One phase of one model on one machine, as compiled.

    Attributes:
        batch_size: rows of a step, over all devices.
        memory: bytes a device holds at once.
        sent: bytes a device sends in a step.
        mfu: the share of the peak that the operations which count reach, at most.
        step: seconds at least; serial: where no kernel overlaps its parts.
        parts: of the step: products, other operations, memory, launches, waiting for others.
        sending: seconds that the wire is busy, hidden or not.
    """

    topology: str
    model: str
    length: int
    batch_size: int
    flags: str
    memory: float
    memory_of: float
    sent: float
    mfu: float
    step: float
    serial: float
    parts: tuple[float, ...]
    sending: float

    @property
    def wire_bound_rows(self) -> float:
        """Below so many rows a step, sending takes longer than computing."""
        return self.batch_size * self.sending / (self.step - self.parts[-1])

    def seconds(self, rows: float, step: float) -> float:
        """To train on so many rows at so many seconds a step."""
        return rows / self.batch_size * step


def main() -> None:
    """Compile what is not there yet, then print."""
    jax.config.update("jax_platforms", "cpu")
    for model in FLAGS.models:
        if model not in PRESETS:
            raise UserError(f"got --models={model}; expected some of {', '.join(PRESETS)}")
    topologies = {name: parse_topology(name) for name in FLAGS.topologies}
    for name, topology in topologies.items():
        if topology.kind not in _TOKENS_A_DEVICE:
            kinds = ", ".join(_TOKENS_A_DEVICE)
            raise UserError(f"got --topologies={name}; expected machines of {kinds}")
    with own_workdir(FLAGS.workdir) as place:
        text = ""
        for model in FLAGS.models:
            plans = {
                name: [_cell(place.folder, name, topology, model, length) for length, _ in _PHASES]
                for name, topology in topologies.items()
            }
            text += f"\n**BERT-{model}**\n\n{_table(plans)}"
            (place.folder / "table.md").write_text(text)
            place.publish()
    print(text)


def _cell(workdir: Path, name: str, topology: Topology, model: str, length: int) -> Cell:
    saved = workdir / f"cell_{model}_{name.replace(':', '_')}_{length}.json"
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
    if not compiled.fits or not compiled.own:
        fits = "fits" if compiled.fits else "does not fit"
        raise UserError(
            f"got --topologies={name}: BERT-{model}, compiled by {compiled.compiler}, {fits};"
            " expected a step that fits and the device's own compiler ('.[tpu]' or '.[cuda]')"
        )
    flops = training_flops(config, RowShape(length, predictions, 1))
    least = least_time(parse_hlo(compiled.hlo), topology)
    mesh = ",".join(f"{axis}:{size}" for axis, size in compiled.mesh.items() if size != 1)
    options = f"--optimizer={optimizer} --remat={plan.remat} --accumulate={plan.accumulate}"
    cell = Cell(
        name, model, length, batch_size, f"--mesh={mesh} {options}",
        compiled.memory, compiled.memory_of, total_sent(least.traffic),
        flops * batch_size / (topology.count * topology.device.flops * least.step),
        least.step, least.serial,
        (least.products, least.instructions, least.memory, least.launches, least.waiting),
        least.sending,
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
            ["step at least, ms", *(f"{cell.step * 1e3:.1f}" for cell in cells)],
            ["where kernels overlap nothing, ms", *(f"{cell.serial * 1e3:.1f}" for cell in cells)],
            ["products / other / memory / launches / waiting, ms", *map(_parts, cells)],
            ["sending, ms", *(f"{cell.sending * 1e3:.1f}" for cell in cells)],
            ["MFU at most", *(f"{cell.mfu:.0%}" for cell in cells)],
            [
                "wire-bound below, rows",
                *(f"{cell.wire_bound_rows:,.0f}" for cell in cells),
            ],
        ]
    least = [_hours(cells, [cell.step for cell in cells]) for cells in plans.values()]
    serial = [_hours(cells, [cell.serial for cell in cells]) for cells in plans.values()]
    rows += [
        ["40 epochs at least, hours", *(f"{hours:,.2f}" for hours in least)],
        ["where kernels overlap nothing, hours", *(f"{hours:,.2f}" for hours in serial)],
        ["epochs in a day at most", *(f"{_EPOCHS * 24 / hours:,.0f}" for hours in least)],
        ["loader cores for all hosts, at the bound", *(_cores(cells) for cells in plans.values())],
    ]
    lines = [["", *plans], ["---"] * (len(plans) + 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _said(options: str) -> str:
    """Without what is so by default."""
    usual = ("--remat=none", "--accumulate=1", "--optimizer=adamw")
    return " ".join(option for option in options.split() if option not in usual)


def _memory(cell: Cell) -> str:
    return f"{cell.memory / GIB:.1f} of {cell.memory_of / GIB:.0f}"


def _parts(cell: Cell) -> str:
    return " / ".join(f"{1e3 * part:.1f}" for part in cell.parts)


def _hours(cells: list[Cell], steps: list[float]) -> float:
    phases = zip(cells, steps, _PHASES, strict=True)
    return sum(cell.seconds(_RECIPE_ROWS * share, step) for cell, step, (_, share) in phases) / 3600


def _cores(cells: list[Cell]) -> str:
    rate = max(cell.batch_size * cell.length / cell.step for cell in cells)
    return f"{rate / FLAGS.loader_rate:.1f}"


if __name__ == "__main__":
    command.run(main)
