r"""Ask a masked-LM head what stands behind each [MASK].

    python -m experiments.fill_mask --checkpoint=bert-base-uncased "Paris is the [MASK] of France."
    python -m experiments.fill_mask --checkpoint=runs/pretrain < lines.txt > filled.jsonl

Prints the best pieces with their probabilities, of the softmax over the whole vocabulary; a text
may hold several masks, which are filled apart, each as if the others stayed masked. Texts are
arguments, or the lines of standard input; lines are read and answered in batches, as JSON:

    {"text": "I [MASK] cats.", "masks": [{"pieces": ["like", …], "probabilities": [0.41, …]}]}

`--checkpoint` is a checkpoint or workdir of ours, a Hugging Face directory, a Google checkpoint, or
a name on the Hugging Face hub.
"""

import json
import sys
from collections.abc import Sequence

import jax.numpy as jnp
from absl import flags
from rich.console import Console
from rich.markup import escape

from bert_jax.cli import command
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.inference.fill_mask import Fills, MaskFiller

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "The model: a path, or a name on the hub.")
_BEST = flags.DEFINE_integer("best", 5, "How many pieces to show for each mask.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Texts a batch.", lower_bound=1)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "What it computes in.")
_JSON = flags.DEFINE_bool("json", None, "JSON lines; by default for standard input.")


def main(texts: Sequence[str]) -> None:
    """Fill the masks of `texts`, or of the lines of standard input."""
    if not _CHECKPOINT.value:
        raise UserError("got no --checkpoint; expected the path of one, or a name on the hub")
    filler = MaskFiller(
        load_pretrained(_CHECKPOINT.value),
        int(_BEST.value or 0),
        int(_BATCH_SIZE.value or 0),
        jnp.dtype(_DTYPE.value),
    )
    as_json = not texts if _JSON.value is None else _JSON.value
    lines = (line for line in map(str.strip, sys.stdin) if line)
    console = Console(highlight=False)
    for fills in filler.fill(texts or lines):
        if as_json:
            print(json.dumps(_content(fills), ensure_ascii=False), flush=True)
        else:
            _show(fills, console)


def _content(fills: Fills) -> dict[str, object]:
    return {
        "text": fills.text,
        "masks": [
            {"pieces": list(pieces), "probabilities": [round(p, 6) for p in probabilities]}
            for pieces, probabilities in zip(fills.pieces, fills.probabilities, strict=True)
        ],
    }


def _show(fills: Fills, console: Console) -> None:
    console.print(f"[bold]{escape(fills.text)}[/bold]")
    for number, (pieces, chances) in enumerate(
        zip(fills.pieces, fills.probabilities, strict=True), 1
    ):
        if len(fills.pieces) > 1:
            console.print(f"  mask {number}")
        for piece, chance in zip(pieces, chances, strict=True):
            console.print(f"  {chance:7.2%}  {escape(piece)}")


if __name__ == "__main__":
    command.run(main, takes="TEXT …")
