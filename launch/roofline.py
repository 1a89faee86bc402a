r"""How long a compiled program takes on a device, from its text: a roofline, kernel by kernel.

    python -m launch.compile_only --topology=h100:1 --hlo=h100.txt --batch_size=128 --pack=1
    python -m launch.roofline --hlo=h100.txt --topology=h200:1

Compiling takes minutes; this reads the program that `launch.compile_only --hlo` kept (or that
`compiled.as_text()` gave) in seconds, also with the figures of another device. Prints what a step
takes at least and for what, and the ten slowest kernels with the line of the source.
"""

from absl import flags

from bert_jax.cli import command
from bert_jax.errors import UserError
from bert_jax.mirror import at_hand

from .hlo import parse_hlo
from .least_time import least_time
from .machines import parse_topology
from .shown_times import shown_kernels, shown_times

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "hlo", None, "A compiled program, as compile_only --hlo writes it.", required=True
)
flags.DEFINE_string("topology", "h100:1", "Devices, as KIND:SHAPE: v5e:16x16, v5p:2x2x1 or h100:8.")


def main() -> None:
    """Read, count, print."""
    topology = parse_topology(FLAGS.topology)
    try:
        text = at_hand(FLAGS.hlo).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"got --hlo={FLAGS.hlo}, which cannot be read ({error})") from error
    program = parse_hlo(text)
    if not program.entry:
        raise UserError(
            f"got --hlo={FLAGS.hlo}, which holds no ENTRY; expected a program as compiled.as_text()"
            " gives it"
        )
    least = least_time(program, topology)
    command.print_table(f"{FLAGS.hlo} on {FLAGS.topology}", shown_times(least))
    command.print_table("The slowest kernels", shown_kernels(least))


if __name__ == "__main__":
    command.run(main)
