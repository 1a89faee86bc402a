r"""Ask a masked-LM head what stands behind each [MASK].

    python -m experiments.fill_mask --checkpoint=bert-base-uncased "Paris is the [MASK] of France."
    python -m experiments.fill_mask --checkpoint=runs/pretrain < lines.txt > filled.jsonl

Prints the best pieces with their probabilities, of the softmax over the whole vocabulary; a text
may hold several masks, which are filled apart, each as if the others stayed masked. Texts are
arguments, or the lines of standard input; lines are read and answered in batches, as JSON that
begins with the number of the line; empty lines are left out:

    {"line": 1, "text": "I [MASK] cats.", "masks": [{"pieces": ["like", …], "probabilities": […]}]}

`--checkpoint` is a checkpoint or workdir of ours, a Hugging Face directory, a Google checkpoint, or
a name on the Hugging Face hub.
"""

import itertools
import sys
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from absl import flags
from rich.console import Console

from bert_jax.cli import command
from bert_jax.cli.compiled_programs import define_compilation_cache
from bert_jax.cli.text_flags import define_splitting
from bert_jax.console import plain_console
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.inference.fill_mask import Fills, MaskFiller
from bert_jax.tasks.lines import LineError, decoded
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.whole_file import json_line

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "The model: a path, or a name on the Hugging Face hub."
)
_SPLITTING = define_splitting()
_BEST = flags.DEFINE_integer("best", 5, "How many tokens to show for each mask.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    32,
    "Texts per batch at 64 tokens each; longer texts make it smaller, shorter ones larger.",
    1,
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "bfloat16"],
    "What the model computes in; bfloat16 is faster on accelerators, less exact.",
)
_ON_ERROR = flags.DEFINE_enum(
    "on_error", "stop", ["stop", "mark"],
    "On a bad text: stop, or print the error in its place and go on.",
)  # fmt: skip
_JSON = flags.DEFINE_bool(
    "json", None, "Print JSON lines; by default on when reading standard input."
)
define_compilation_cache()


def main(texts: Sequence[str]) -> None:
    """Fill the masks of `texts`, or of the lines of standard input."""
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    if not _CHECKPOINT.value:
        raise UserError("got no --checkpoint; expected the path of one, or a name on the hub")
    filler = MaskFiller(
        load_pretrained(_CHECKPOINT.value, splitting=_SPLITTING.value),
        int(_BEST.value or 0),
        int(_BATCH_SIZE.value or 0),
        jnp.dtype(_DTYPE.value),
    )
    as_json = not texts if _JSON.value is None else _JSON.value
    lines = enumerate(texts, 1) if texts else _lines()
    numbers, asked = itertools.tee(lines)  # as far apart as a batch
    console = plain_console(highlight=False)
    answers = filler.fill((text for _, text in asked if isinstance(text, str)), "mark")
    for number, text in numbers:
        fills = next(answers) if isinstance(text, str) else Fills("", error=str(text))
        if fills.error and _ON_ERROR.value == "stop":
            where = f"text {number}" if texts else f"standard input, line {number}"
            raise UserError(f"{where}: {fills.error}") if isinstance(text, str) else text
        if as_json:
            place = {} if texts else {"line": number}
            print(json_line({**place, **_content(fills)}), end="", flush=True)
        else:
            _show(fills, console)


def _lines() -> Iterator[tuple[int, str | LineError]]:
    """Those of standard input that are not empty, with their numbers."""
    for number, line in decoded("standard input", sys.stdin.buffer):
        if isinstance(line, LineError):
            yield number, line
        elif line.strip():
            yield number, line.strip()


def _content(fills: Fills) -> dict[str, object]:
    if fills.error:
        return {"text": fills.text, "error": fills.error}
    return {
        "text": fills.text,
        "masks": [
            {"pieces": list(pieces), "probabilities": [round(p, 6) for p in probabilities]}
            for pieces, probabilities in zip(fills.pieces, fills.probabilities, strict=True)
        ],
    }


def _show(fills: Fills, console: Console) -> None:
    console.print(fills.text, style="bold")
    if fills.error:
        console.print(f"  {fills.error}")
    for number, (pieces, chances) in enumerate(
        zip(fills.pieces, fills.probabilities, strict=True), 1
    ):
        if len(fills.pieces) > 1:
            console.print(f"  mask {number}")
        for piece, chance in zip(pieces, chances, strict=True):
            console.print(f"  {chance:7.2%}  {piece}")


if __name__ == "__main__":
    command.run(main, takes="TEXT …")
