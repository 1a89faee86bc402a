"""Which file of a Hugging Face directory has the weights; or what there is instead, and a way out.

Safetensors are taken before Flax's msgpack. Other kinds are named, each with what makes one of
these of it: reading a pickle runs what it contains, and the rest needs the library that wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from bert_jax.convert.flax_files import FlaxFile
from bert_jax.convert.safetensors_files import INDEX, SafetensorsFile
from bert_jax.convert.weights import WeightFile
from bert_jax.errors import UserError

WEIGHTS = "model.safetensors"
FLAX, FLAX_INDEX = "flax_model.msgpack", "flax_model.msgpack.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
SAFETENSORS_FILES = (WEIGHTS, INDEX, "model-*.safetensors")
FLAX_FILES = (FLAX, FLAX_INDEX, "flax_model-*.msgpack")
PICKLED_FILES = (*PICKLES, "pytorch_model-*.bin")
"""Patterns of the files that belong together."""

_READERS: dict[str, Callable[[Path], WeightFile]] = {
    WEIGHTS: SafetensorsFile,
    INDEX: SafetensorsFile,
    FLAX: FlaxFile,
    FLAX_INDEX: FlaxFile,
}


class _Other(NamedTuple):
    """Weights of a kind that is not read: names, what they are, and how to come from there."""

    patterns: tuple[str, ...]
    what: str
    way_out: str


_GRAPH = "without the names that weights have"
_OTHERS = (
    _Other(
        ("pytorch_model*.bin*",),
        "are pickled: to read them runs what they contain",
        "safetensors, which `python -m experiments.unpickle --from={place} --to=DIR` makes where"
        " torch is installed",
    ),
    _Other(
        ("tf_model*.h5*",),
        "are TensorFlow's",
        f"{WEIGHTS} or {FLAX}: `AutoModelForPreTraining.from_pretrained('{{place}}', from_tf=True)"
        ".save_pretrained('DIR')` of transformers 4 makes safetensors where TensorFlow and torch"
        " are installed",
    ),
    _Other(
        ("*.onnx", "*.onnx_data", "openvino*.xml", "openvino*.bin"),
        f"are a graph for running alone, {_GRAPH}",
        f"{WEIGHTS} or {FLAX} of the model that it was exported from",
    ),
    _Other(
        ("*.gguf", "*ggml*.bin"),
        "are quantised for llama.cpp",
        f"{WEIGHTS} or {FLAX} of the model that they were made from",
    ),
    _Other(
        ("adapter_model.*",),
        "are those of an adapter, without the model it belongs to",
        f"{WEIGHTS} of the two merged, as `merge_and_unload` of the package peft does",
    ),
    _Other(
        ("*.safetensors", "*.msgpack"),
        "have another name than those of a model",
        f"{WEIGHTS} or {FLAX}, by which name the file must go, or several files with {INDEX}",
    ),
    _Other(
        ("*.bin", "*.pt", "*.pth", "*.ckpt"),
        "are perhaps pickled: to read them runs what they contain",
        "safetensors: `python -m experiments.unpickle --from={place} --to=DIR` makes them of a"
        f" {PICKLES[0]} where torch is installed",
    ),
)


def open_weights(directory: Path) -> WeightFile:
    """The weights of a directory that has a config.json, not yet read.

    Raises:
        UserError: there are none that are read; says what there is and the way out.
    """
    for name, reader in _READERS.items():
        if (directory / name).is_file() or (directory / name).is_symlink():
            return reader(directory / name)
    files = (path for path in directory.rglob("*") if path.is_file())
    raise no_weights(str(directory), (path.relative_to(directory).as_posix() for path in files))


def has_weights(directory: Path) -> bool:
    """Whether there is a file of a name that `open_weights` takes."""
    return any((directory / name).exists() for name in _READERS)


def no_weights(place: str, names: Iterable[str]) -> UserError:
    """The error that says which weights there are instead, and the way out.

    Args:
        place: what to call where they are, and to give a command.
        names: of all files there.
    """
    found = sorted(names)
    for patterns, what, way_out in _OTHERS:
        matching = [
            name for name in found if any(fnmatch(Path(name).name, each) for each in patterns)
        ]
        if matching:
            shown = ", ".join(matching[:3]) + (" …" if len(matching) > 3 else "")
            return UserError(
                f"got {place}, whose weights ({shown}) {what}; expected"
                f" {way_out.replace('{place}', place)}"
            )
    return UserError(
        f"got {place}, which has a config.json and no weights; expected {WEIGHTS}, {INDEX} or"
        f" {FLAX}"
    )
