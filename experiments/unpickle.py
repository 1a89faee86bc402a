r"""Turn pickled weights (pytorch_model.bin) into safetensors, the one thing here that needs torch.

    python -m experiments.unpickle --from=MODEL --to=MODEL-safe
    python -m experiments.unpickle --from=prajjwal1/bert-tiny --to=tiny     # from the hub

Reading a pickle can run what it contains. torch's `weights_only` loader reads arrays and refuses
the rest; what it refuses, this refuses. `--to` gets the weights under the names and in the dtypes
of the file, and copies of every other text file of the model, those in folders inside it too (of
sentence-transformers): `experiments.convert`, `Bert.from_pretrained` and transformers open it.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from absl import flags

from bert_jax.cli import command
from bert_jax.cli.outputs import define_overwrite, overwrites
from bert_jax.convert.found_weights import PICKLED_FILES, PICKLES, WEIGHTS
from bert_jax.errors import UserError
from bert_jax.pretrained_paths import check_fetched, locate, model_folder
from bert_jax.whole_file import whole_folder

_FROM = flags.DEFINE_string(
    "from", None, "A directory with pytorch_model.bin, or the name of such a model on the hub."
)
_TO = flags.DEFINE_string("to", None, "Directory to write.")
define_overwrite()

_MODULE = "[0-9]_*/"  # a folder of a part of a model of sentence-transformers
_IN_MODULES = tuple(f"[0-9]_*/{pattern}" for pattern in PICKLED_FILES)


def main() -> None:
    """Load with torch, write with safetensors."""
    if not _FROM.value or not _TO.value:
        raise UserError("got no --from or no --to; expected --from=DIRECTORY --to=DIRECTORY")
    source = locate(_FROM.value, ("*.json", "*.txt", "*.md", *PICKLED_FILES, *_IN_MODULES))
    modules = [source, *sorted(source.glob(_MODULE))]
    pickles = {folder: files for folder in modules if (files := _pickles(folder))}
    if model_folder(source) not in pickles:
        raise UserError(f"got {source}, which has no {PICKLES[0]}; expected a directory with one")
    try:
        import torch  # noqa: F401
        from safetensors.torch import save_file
    except ImportError:
        raise UserError(
            "got no torch, which alone reads pickled weights; expected it for this one command: "
            "python3 -m pip install torch"
        ) from None
    arrays = {folder: _unpickled(files) for folder, files in pickles.items()}
    with whole_folder(_TO.value, overwrite=overwrites()) as partial:
        for folder in modules:
            copy = partial / folder.relative_to(source)
            copy.mkdir(exist_ok=True)
            for file in folder.iterdir():
                if file.suffix in (".json", ".txt", ".md") and file.name not in PICKLES:
                    shutil.copyfile(file, copy / file.name)
            if folder in arrays:
                save_file(arrays[folder], copy / WEIGHTS, metadata={"format": "pt"})
    numbers = [array.numel() for each in arrays.values() for array in each.values()]
    command.print_table(
        "Unpickled",
        {
            "from": source,
            "to": _TO.value,
            "arrays": len(numbers),
            "numbers": f"{sum(numbers):,}",
        },
    )


def _unpickled(files: list[Path]) -> dict[str, Any]:
    """The arrays of files that belong together, as torch's."""
    import torch

    arrays: dict[str, Any] = {}
    for file in files:
        check_fetched(file)
        try:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises what the pickle makes it raise
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"got {file}, which torch's weights_only loader rejects ({reason}); expected a "
                "file of arrays alone"
            ) from None
        # Tied weights share memory, which safetensors refuses to write: each gets its own.
        arrays |= {
            n: value.clone().contiguous() for n, value in loaded.items() if torch.is_tensor(value)
        }
    return arrays


def _pickles(directory: Path) -> list[Path]:
    """The pickled files of a folder: one, those that an index names, or none."""
    single, index = (directory / name for name in PICKLES)
    if single.is_file():
        return [single]
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        return [directory / name for name in names]
    return []


if __name__ == "__main__":
    command.run(main)
