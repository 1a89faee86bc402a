r"""Compile the training step for machines you do not have, and say what it would cost there.

    python -m launch.compile_only --topology=v5e:2x4 --model=base --batch_size=256
    python -m launch.compile_only --topology=h100:8 --model=large --mesh=fsdp:8 --batch_size=256

No accelerator is needed. For TPUs (v4, v5e, v5p, v6e, TPU7x) libtpu compiles the very program that
`experiments.pretrain` runs (`pip install -e '.[tpu]'`, 400 MB). For GPUs (a100, h100, h200, b200)
XLA's own compiler does, where it is installed (`'.[cuda]'`, 5 GB); without, the program is cut for
as many devices and compiled for CPU: the collectives are those of any backend, memory is an
estimate.

It prints whether the step fits, what the devices send each other, how long a step takes by a
roofline over the compiled program (`launch.least_time`), and its ten slowest kernels with the line
of the source they come from. A step that does not fit is an answer, exit status 0, with a plan that
would.
"""

import dataclasses
from typing import Any

import jax
from absl import flags

from bert_jax.analysis.flops import RowShape, training_flops
from bert_jax.cli import command
from bert_jax.cli.outputs import check_new, define_overwrite
from bert_jax.config import PRESETS, BertConfig
from bert_jax.data.masking import default_max_predictions
from bert_jax.errors import UserError
from bert_jax.kernels.compute import scans_layers
from bert_jax.kernels.rematerialisation import REMATERIALISATIONS
from bert_jax.training.attention_choice import ATTENTIONS
from bert_jax.training.optimizers import OPTIMIZERS
from bert_jax.training.sharding import parse_mesh
from bert_jax.whole_file import write_json, write_text

from .collectives import Traffic, total_sent, total_traffic
from .compiling import Compiled, Plan, compile_plan, what_would_fit
from .hlo import parse_hlo
from .least_time import LeastTime, least_time
from .machines import GIB, Topology, parse_topology
from .schedule import collectives, schedule
from .shown_times import shown_kernels, shown_times

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "topology", "v5e:2x4", "Devices, as KIND:SHAPE: v5e:16x16, v5p:2x2x1 or h100:8."
)
flags.DEFINE_integer("slices", 1, "Number of such TPU slices, joined by a network.", 1)
flags.DEFINE_string("model", "base", f"Model size: {', '.join(PRESETS)}, or a config.json.")
flags.DEFINE_integer("vocab_size", 30522, "Vocabulary size, in tokens.", lower_bound=1)
flags.DEFINE_integer("length", 128, "Tokens per row.", lower_bound=8)
flags.DEFINE_integer("batch_size", 256, "Global batch size, in rows.", lower_bound=1)
flags.DEFINE_integer("pack", 8, "Most examples packed into a row.", lower_bound=1)
flags.DEFINE_string(
    "mesh", "", "Device mesh, as in data:4,fsdp:2; by default devices on data, TPU slices on dcn."
)
flags.DEFINE_integer(
    "accumulate", 1, "Microbatches per step; more need less memory.", lower_bound=1
)
flags.DEFINE_enum("optimizer", "adamw", list(OPTIMIZERS), "The optimiser.")
flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "What the model computes in.")
flags.DEFINE_bool("untied", False, "Give the decoder its own table; row_lazy_adamw needs it.")
flags.DEFINE_bool(
    "scan_layers", None, "Loop over the layers; as in pretrain, on by default for TPUs."
)
flags.DEFINE_enum(
    "remat",
    "none",
    list(REMATERIALISATIONS),
    "What the backward pass recomputes to save memory: nothing, all but matrix products, or whole"
    " layers.",
)
flags.DEFINE_enum(
    "attention", "auto", list(ATTENTIONS), "Attention kernel; see pretrain's flag of this name."
)
flags.DEFINE_float(
    "attention_dropout",
    None,
    "Dropout rate of the attention weights; by default the model's.",
    0.0,
    0.9,
)
flags.DEFINE_bool("suggest", True, "If it does not fit, keep compiling until a variant does.")
flags.DEFINE_string("hlo", None, "File to write the compiled program to, for launch.roofline.")
flags.DEFINE_string("json", None, "File to write the same figures to, as JSON.")
define_overwrite()


def main() -> None:
    """Compile, count, print."""
    jax.config.update("jax_platforms", "cpu")  # nothing runs; a TPU of this machine stays free
    if FLAGS.json:
        check_new("json", FLAGS.json)
    if FLAGS.hlo:
        check_new("hlo", FLAGS.hlo)
    topology = parse_topology(FLAGS.topology, FLAGS.slices)
    plan = _plan(topology)
    compiled = compile_plan(topology, plan)
    flops = training_flops(plan.config, RowShape(plan.length, plan.predictions, plan.instances))
    fitting = None
    if not compiled.fits and FLAGS.suggest:
        fitting = what_would_fit(topology, plan)
    if FLAGS.hlo and compiled.hlo:
        write_text(FLAGS.hlo, compiled.hlo)
    least, traffic = _read(topology, compiled)
    result = _result(topology, plan, compiled, flops)
    result |= _times(topology, plan, flops, least, traffic)
    result["would_fit"] = _flags_of(fitting[0]) if fitting else None
    if FLAGS.json:
        write_json(FLAGS.json, result)
    command.print_table(
        f"{FLAGS.model} on {FLAGS.topology}", _shown(result, compiled, least, traffic)
    )
    if least:
        command.print_table("The slowest kernels", shown_kernels(least))


def _plan(topology: Topology) -> Plan:
    scan: bool | None = FLAGS.scan_layers
    if FLAGS.model in PRESETS:
        config = getattr(BertConfig, FLAGS.model)(vocab_size=FLAGS.vocab_size)
    elif FLAGS.model.endswith(".json"):
        config = BertConfig.from_json(FLAGS.model).replace(vocab_size=FLAGS.vocab_size)
    else:
        raise UserError(
            f"got --model={FLAGS.model}; expected a config.json or one of {', '.join(PRESETS)}"
        )
    if FLAGS.untied:
        config = config.replace(tie_word_embeddings=False)
    if FLAGS.attention_dropout is not None:
        config = config.replace(attention_probs_dropout_prob=FLAGS.attention_dropout)
    if FLAGS.length > config.max_position_embeddings:
        raise UserError(
            f"got --length={FLAGS.length}; expected at most the model's"
            f" {config.max_position_embeddings} positions"
        )
    return Plan(
        config,
        parse_mesh(FLAGS.mesh),
        FLAGS.batch_size,
        FLAGS.length,
        default_max_predictions(FLAGS.length),
        FLAGS.pack,
        FLAGS.dtype,
        FLAGS.optimizer,
        FLAGS.accumulate,
        scans_layers(topology.device.platform) if scan is None else scan,
        FLAGS.remat,
        FLAGS.attention,
    )


def _flags_of(plan: Plan) -> str:
    mesh = ",".join(f"{axis}:{size}" for axis, size in plan.mesh.items() if size != 1)
    return f"--mesh={mesh} --accumulate={plan.accumulate} --remat={plan.remat}"


def _read(topology: Topology, compiled: Compiled) -> tuple[LeastTime | None, dict[str, Traffic]]:
    """What the program takes, where it is the device's own, and what it sends."""
    if not compiled.fits:
        return None, {}
    program = parse_hlo(compiled.hlo)
    if compiled.own:
        least = least_time(program, topology)
        return least, least.traffic
    return None, total_traffic(collectives(schedule(program)), topology.count)


def _result(topology: Topology, plan: Plan, compiled: Compiled, flops: int) -> dict[str, Any]:
    said = dataclasses.asdict(compiled)
    del said["hlo"]
    return {
        "topology": FLAGS.topology,
        "devices": topology.count,
        "model": FLAGS.model,
        "batch_size": plan.batch_size,
        "length": plan.length,
        "accumulate": plan.accumulate,
        "remat": plan.remat,
        "attention": plan.attention,
        **said,
        "flops_a_token": flops / plan.length,
        "flops_a_step": flops * plan.batch_size,
    }


def _times(
    topology: Topology,
    plan: Plan,
    flops: int,
    least: LeastTime | None,
    traffic: dict[str, Traffic],
) -> dict[str, Any]:
    sent = {kind: dataclasses.asdict(each) for kind, each in traffic.items()}
    said: dict[str, Any] = {
        "collectives": sent,
        "bytes_sent_a_device": total_sent(traffic),
        "least_seconds": None,
        "mfu": None,
        "tokens_a_second": None,
    }
    if least:
        seconds = dataclasses.asdict(dataclasses.replace(least, kernels=least.kernels[:10]))
        del seconds["traffic"]
        busy = topology.count * topology.device.flops * least.step
        said["least_seconds"] = seconds
        said["mfu"] = flops * plan.batch_size / busy
        said["tokens_a_second"] = plan.batch_size * plan.length / least.step
    return said


def _shown(
    result: dict[str, Any],
    compiled: Compiled,
    least: LeastTime | None,
    traffic: dict[str, Traffic],
) -> dict[str, Any]:
    mesh = " x ".join(f"{axis}:{size}" for axis, size in compiled.mesh.items())
    used = f"{compiled.memory / GIB:.2f} of {compiled.memory_of / GIB:.2f} GiB a device"
    rows: dict[str, Any] = {
        "fits": f"{'yes' if compiled.fits else 'no'}: {used}",
        "  of it state and batch": f"{compiled.arguments / GIB:.2f} GiB",
        "mesh": mesh,
        "parameters": f"{compiled.parameters:,}",
        "FLOPs a token": f"{result['flops_a_token']:.3e}",
        "FLOPs a step": f"{result['flops_a_step']:.3e}",
    }
    if not compiled.fits:
        fits = result["would_fit"] or "nothing tried: fewer rows, or more devices"
        return {**rows, "what would fit": fits, "compiler": _compiler(compiled)}
    for kind, each in traffic.items():
        rows[kind] = f"{each.count} a step, {each.payload / 1e6:,.1f} MB"
    rows["sent a device"] = f"{result['bytes_sent_a_device'] / 1e6:,.1f} MB a step"
    if least is None:
        return {
            **rows,
            "step": "not known: the kernels are a CPU's; expected '.[cuda]' to be installed",
            "compiler": _compiler(compiled),
        }
    return {
        **rows,
        **shown_times(least),
        "tokens a second at most": f"{result['tokens_a_second']:,.0f}",
        "MFU at most": f"{result['mfu']:.0%}",
        "compiler": _compiler(compiled),
    }


def _compiler(compiled: Compiled) -> str:
    return f"{compiled.compiler}, {compiled.seconds:.0f} s"


if __name__ == "__main__":
    command.run(main)
