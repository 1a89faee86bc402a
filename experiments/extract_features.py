r"""Write the vectors a model gives to the lines of a text file.

    python -m experiments.extract_features --checkpoint=MODEL --input=lines.txt --output=tokens.npz
    python -m experiments.extract_features --checkpoint=MODEL --input=- --output=mean.parquet \
        --pooling=mean --layers=0,6,-1 < lines.txt

A line is a text; an empty one too, so that row numbers are line numbers. `--layers` counts from 0,
the input representation, and from -1, the last. Streams: the input may be larger than memory.
Short lines share rows and long ones have rows of few lengths, so that nearly all that is computed
is text; the table says how many shapes of batches were compiled.

`--pooling=auto` follows the model: a sentence encoder (a directory of sentence-transformers, a
model that was fine-tuned for similarity) gives a vector a text, as it says itself, with its maximum
length, layers, normalising and prompt; any other model gives `tokens`, a row a piece, [CLS] and
[SEP] too. `cls`, `mean` (over all pieces), `max`, `mean_sqrt_len`, `weighted_mean` and `last` pool
the pieces of a text, `pooler` is what the pooler makes of [CLS]. The columns:

    text                    number of the line, from 0
    layer_N                 fp32 vectors of layer N
    position, id, piece     where a row is a piece; a .npz has pieces[id] instead of piece

all-MiniLM-L6-v2, mean of the last layer, 2 cores: see docs/checkpoints.md.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import jax
import jax.numpy as jnp
from absl import flags

from bert_jax.cli import command
from bert_jax.cli.compiled_programs import define_compilation_cache
from bert_jax.cli.outputs import check_new, define_overwrite
from bert_jax.cli.text_flags import define_splitting
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.inference.feature_files import check_suffix, write_features
from bert_jax.inference.features import POOLING_NAMES, FeatureExtractor, Features
from bert_jax.mirror import at_hand
from bert_jax.progress import ProgressBar
from bert_jax.training.cpu_memory import keep_freed_memory

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "The model: a path, or a name on the Hugging Face hub."
)
_INPUT = flags.DEFINE_string(
    "input", None, "A UTF-8 text file, one text per line; - for standard input."
)
_OUTPUT = flags.DEFINE_string("output", None, "File to write, .npz or .parquet.")
define_overwrite()
_SPLITTING = define_splitting()
_LAYERS = flags.DEFINE_list(
    "layers", ["-1"], "Layers, as in 0,6,-1: 0 is the embeddings, -1 the last layer."
)
_POOLING = flags.DEFINE_enum(
    "pooling",
    "auto",
    POOLING_NAMES,
    "How tokens are pooled: tokens keeps a vector per token; auto does as the model says.",
)
_MAX_LENGTH = flags.DEFINE_integer(
    "max_length",
    None,
    "Tokens to truncate a text to; by default what the model says, or its positions.",
)
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
define_compilation_cache()


def main() -> None:
    """Read, compute, write, and say how much it was."""
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    if not (_CHECKPOINT.value and _INPUT.value and _OUTPUT.value):
        raise UserError(
            "got no --checkpoint, --input or --output; expected all three, as in --checkpoint=MODEL"
            " --input=lines.txt --output=vectors.npz"
        )
    output = _OUTPUT.value
    check_suffix(output)
    check_new("output", output, reads=_INPUT.value)
    with _opened(_INPUT.value) as file:
        extractor = FeatureExtractor(
            load_pretrained(_CHECKPOINT.value, splitting=_SPLITTING.value),
            _numbers(_LAYERS.value or []),
            str(_POOLING.value),
            max_length=_MAX_LENGTH.value,
            batch_size=int(_BATCH_SIZE.value or 0),
            dtype=jnp.dtype(_DTYPE.value),
        )
        began, seen = time.perf_counter(), {"texts": 0, "pieces": 0}

        def counted() -> Iterator[Features]:
            with ProgressBar("extracting", _size(file)) as bar:
                for features in extractor.extract(_lines(file, bar)):
                    seen["texts"] += 1
                    seen["pieces"] += len(features.ids)
                    yield features

        pieces = extractor.tokenizer.pieces if extractor.a_row_a_piece else None
        rows = write_features(output, counted(), extractor.layers, pieces)
    seconds = time.perf_counter() - began
    command.print_table(
        "Features",
        {
            "output": output,
            "texts": f"{seen['texts']:,}",
            "rows": f"{rows:,}",
            "layers": ", ".join(map(str, extractor.layers)),
            "compiled shapes": str(extractor.compiled_shapes),
            "seconds, compiling too": f"{seconds:.1f}",
            "tokens a second": f"{seen['pieces'] / max(seconds, 1e-9):,.0f}",
        },
    )


def _opened(name: str) -> IO[bytes]:
    if name == "-":
        return sys.stdin.buffer
    try:
        return at_hand(name).open("rb")
    except OSError as error:
        raise UserError(
            f"got --input={name}, which cannot be read ({error.strerror}); expected a text file, "
            "or - for standard input"
        ) from None


def _size(file: IO[bytes]) -> int | None:
    return Path(file.name).stat().st_size if file is not sys.stdin.buffer else None


def _lines(file: IO[bytes], bar: ProgressBar) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        bar.advance(len(line))
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UserError(
                f"got line {number} of --input={_INPUT.value}, which is not valid UTF-8 "
                f"(at byte {error.start}); expected a UTF-8 text file"
            ) from None


def _numbers(layers: list[str]) -> list[int]:
    try:
        return [int(layer) for layer in layers]
    except ValueError:
        raise UserError(
            f"got --layers={','.join(layers)}; expected whole numbers, as in 0,6,-1"
        ) from None


if __name__ == "__main__":
    command.run(main)
