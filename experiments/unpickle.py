r"""Turn pickled weights (pytorch_model.bin) into safetensors, the one thing here that needs torch.

    python -m experiments.unpickle --from=MODEL --to=MODEL-safe

Reading a pickle can run what it contains. torch's `weights_only` loader reads arrays and refuses
the rest; what it refuses, this refuses. `--to` gets the weights under the names and in the dtypes
of the file, and copies of every other text file of the model: `experiments.convert`,
`Bert.from_pretrained` and transformers open it.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from absl import flags

from bert_jax.cli import command
from bert_jax.cli.outputs import define_overwrite, overwrites
from bert_jax.convert.huggingface import PICKLES, WEIGHTS
from bert_jax.errors import UserError
from bert_jax.whole_file import whole_folder

_FROM = flags.DEFINE_string("from", None, "A directory with pytorch_model.bin.")
_TO = flags.DEFINE_string("to", None, "The directory to write.")
define_overwrite()


def main() -> None:
    """Load with torch, write with safetensors."""
    if not _FROM.value or not _TO.value:
        raise UserError("got no --from or no --to; expected --from=DIRECTORY --to=DIRECTORY")
    source = Path(_FROM.value)
    files = _pickles(source)
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError:
        raise UserError(
            "got no torch, which alone reads pickled weights; expected it for this one command: "
            "python3 -m pip install torch"
        ) from None
    weights: dict[str, Any] = {}
    for file in files:
        try:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises what the pickle makes it raise
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"got {file}, which torch's weights_only loader refuses ({reason}); expected a "
                "file of arrays alone"
            ) from None
        weights.update({name: value for name, value in loaded.items() if torch.is_tensor(value)})
    with whole_folder(_TO.value, overwrite=overwrites()) as partial:
        # Tied weights share memory, which safetensors refuses to write: each gets its own.
        own = {name: value.clone().contiguous() for name, value in weights.items()}
        save_file(own, partial / WEIGHTS, metadata={"format": "pt"})
        for file in source.iterdir():
            if file.suffix in (".json", ".txt", ".md") and file.name not in PICKLES:
                shutil.copyfile(file, partial / file.name)
    command.print_table(
        "Unpickled",
        {
            "from": source,
            "to": _TO.value,
            "arrays": len(weights),
            "numbers": f"{sum(v.numel() for v in weights.values()):,}",
        },
    )


def _pickles(directory: Path) -> list[Path]:
    """The pickled files of a model: one, or those that an index names."""
    single, index = (directory / name for name in PICKLES)
    if single.is_file():
        return [single]
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        return [directory / name for name in names]
    raise UserError(f"got {directory}, which has no {PICKLES[0]}; expected a directory with one")


if __name__ == "__main__":
    command.run(main)
