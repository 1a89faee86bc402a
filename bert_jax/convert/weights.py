"""From named arrays to parameters and back: one table (`names.py`), all misfits told at once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import ml_dtypes
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from bert_jax.config import BertConfig
from bert_jax.convert.names import (
    BUFFERS,
    DECODER_BIAS,
    OPTIMIZER_SLOTS,
    WEIGHTS,
    Scheme,
    Weight,
    find,
    their_name,
    unwrapped,
)
from bert_jax.errors import UserError
from bert_jax.parameters import Parameters

_FLOATS = (np.float32, np.float16, np.float64, ml_dtypes.bfloat16)
EVERYTHING = re.compile("")
EMBEDDINGS = re.compile("bert/embeddings/")
_PARTS = ("bert/pooler", "mlm", "nsp", "classifier", "qa_outputs")  # may be absent, as a whole


class WeightFile(Protocol):
    """Named arrays on disk, read one by one."""

    path: str
    scheme: Scheme
    shapes: Mapping[str, tuple[int, ...]]

    def read(self, name: str) -> np.ndarray:
        """One array."""


@dataclass
class _Reading:
    """What becomes of every name in a file."""

    chosen: dict[str, tuple[str, Weight]] = field(default_factory=dict)  # ours -> theirs, row
    unknown: list[str] = field(default_factory=list)
    misfits: list[tuple[str, str]] = field(default_factory=list)  # name, what is wrong with it
    notes: list[str] = field(default_factory=list)


def read_params(
    file: WeightFile, config: BertConfig, wanted: re.Pattern[str] = EVERYTHING
) -> tuple[Parameters, tuple[str, ...]]:
    """Read a file's weights as parameters, in fp32.

    Arrays are read one by one, so that memory holds one copy of the weights. Parts that a model
    may lack (pooler and heads) may be absent as a whole; nothing is made up for them here.

    Args:
        file: the weights.
        config: the sizes they must have.
        wanted: matches the beginnings of our names to read; the others need not even be there.

    Returns:
        The nested dict of numpy arrays, and notes on all that was left out.

    Raises:
        UserError: weights are missing or have other shapes than the configuration says; names
            them all.
    """
    reading = _Reading()
    for name in file.shapes:
        _assign(name, file, config, reading)
    _choose_decoder(file, config, reading)
    sizes = _sizes(config)
    expected = {ours: row for ours, row in _expected(config) if wanted.match(ours)}
    for part in _PARTS:
        if not any(ours.startswith(f"{part}/") for ours in reading.chosen):
            expected = {o: row for o, row in expected.items() if not o.startswith(f"{part}/")}
    for ours, row in expected.items():
        if ours not in reading.chosen:
            theirs = their_name(ours, file.scheme)[1]
            if theirs is not None:
                reading.misfits.append((theirs, "is missing"))
            continue
        theirs = reading.chosen[ours][0]
        got, should = file.shapes[theirs], _their_shape(row, file.scheme, sizes)
        if len(got) != len(should) or any(
            w is not None and g != w for g, w in zip(got, should, strict=True)
        ):
            shown = ["C" if w is None else w for w in should]
            reading.misfits.append((theirs, f"has shape {list(got)} instead of {shown}"))
    if not reading.misfits:
        flat = {
            ours: _read(file, *reading.chosen[ours], reading)
            for ours in expected
            if ours in reading.chosen
        }
    if reading.misfits:
        raise UserError(
            f"got {file.path}, whose weights do not fit its configuration: "
            f"{'; '.join(_grouped(reading.misfits))}; expected those of a BERT with "
            f"{config.num_hidden_layers} layers of width {config.hidden_size} and "
            f"{config.vocab_size} vocabulary rows"
        )
    if reading.unknown:
        reading.notes.append(f"left out, of no part of BERT: {', '.join(sorted(reading.unknown))}")
    return unflatten_dict(flat, sep="/"), tuple(reading.notes)


def named_arrays(
    params: Parameters, config: BertConfig, scheme: Scheme
) -> tuple[dict[str, tuple[tuple[int, ...], Callable[[], np.ndarray]]], list[str]]:
    """Parameters under the names of `scheme`: shape, and a function that makes the array.

    Made one by one when they are written, so that no second copy of all weights is ever held.

    Returns:
        Shape and maker by name; and our names of weights that `scheme` has no place for.

    Raises:
        UserError: an embedding part has no table.
    """
    arrays: dict[str, tuple[tuple[int, ...], Callable[[], np.ndarray]]] = {}
    homeless = []
    flat = flatten_dict(params, sep="/")
    for part in ("token", "segment", "position"):
        if f"bert/embeddings/{part}/table" not in flat:
            raise UserError(
                f"got a model whose {part} embedding has no table, which no other code base's BERT"
                " can look up; expected the three published embeddings, or a checkpoint of ours"
            )
    for ours, leaf in flat.items():
        row, theirs = their_name(ours, scheme)
        if theirs is None:
            homeless.append(ours)
            continue
        turned = scheme in row.transposed
        shape = tuple(leaf.shape[::-1] if turned else leaf.shape)
        arrays[theirs] = (shape, _maker(leaf, turned))
        if ours == "mlm/bias" and scheme == "huggingface" and not config.tie_word_embeddings:
            arrays[DECODER_BIAS] = arrays[theirs]
    return arrays, homeless


def _maker(leaf: Any, turned: bool) -> Callable[[], np.ndarray]:
    def make() -> np.ndarray:
        array = np.asarray(jax.device_get(leaf), np.float32)
        return np.ascontiguousarray(array.T if turned else array)

    return make


def _assign(name: str, file: WeightFile, config: BertConfig, reading: _Reading) -> None:
    if BUFFERS.fullmatch(name):
        return
    if file.scheme == "google" and OPTIMIZER_SLOTS.fullmatch(name):
        if not any(note.startswith("left out: the optimiser") for note in reading.notes):
            reading.notes.append("left out: the optimiser's state and counters")
        return
    found = find(name, file.scheme)
    if found is None:
        if unwrapped(name) != DECODER_BIAS:
            reading.unknown.append(name)
        return
    row, ours = found
    layer = re.search(r"layers/(\d+)/", ours)
    if layer is not None and int(layer[1]) >= config.num_hidden_layers:
        reading.misfits.append((name, f"is beyond the {config.num_hidden_layers} layers"))
    elif ours in reading.chosen:
        reading.misfits.append((name, f"is there again as {reading.chosen[ours][0]}"))
    else:
        reading.chosen[ours] = (name, row)


def _choose_decoder(file: WeightFile, config: BertConfig, reading: _Reading) -> None:
    """Settle which weights the masked-LM head computes with, as transformers does.

    Tied: the token table, whatever a decoder in the file says. Untied: the decoder's own weight
    and, where the file has two biases, the decoder's.
    """
    biases = [name for name in file.shapes if unwrapped(name) == DECODER_BIAS]
    if biases:
        chosen = reading.chosen.get("mlm/bias")
        row = their_name("mlm/bias", file.scheme)[0]
        if chosen is None:
            reading.chosen["mlm/bias"] = (biases[0], row)
        elif not _same(file, chosen, (biases[0], row)):
            used = chosen[0] if config.tie_word_embeddings else biases[0]
            reading.notes.append(
                f"{chosen[0]} and {biases[0]} differ; used {used}, as transformers does"
            )
            reading.chosen["mlm/bias"] = (used, row)
    if config.tie_word_embeddings and "mlm/decoder" in reading.chosen:
        decoder = reading.chosen.pop("mlm/decoder")
        table = reading.chosen.get("bert/embeddings/token/table")
        if table is not None and not _same(file, table, decoder):
            reading.notes.append(
                f"left out: {decoder[0]}, which differs from the token table although the "
                "configuration ties them (tie_word_embeddings); transformers leaves it out too"
            )


def _same(file: WeightFile, one: tuple[str, Weight], other: tuple[str, Weight]) -> bool:
    return np.array_equal(_as_ours(file, *one), _as_ours(file, *other))


def _as_ours(file: WeightFile, name: str, row: Weight) -> np.ndarray:
    array = file.read(name)
    return array.T if file.scheme in row.transposed else array


def _sizes(config: BertConfig) -> dict[str, int | None]:
    return {
        "D": config.hidden_size,
        "F": config.intermediate_size,
        "V": config.vocab_size,
        "S": config.type_vocab_size,
        "L": config.max_position_embeddings,
        "2": 2,
        "C": None,
    }


def _their_shape(
    row: Weight, scheme: Scheme, sizes: Mapping[str, int | None]
) -> tuple[int | None, ...]:
    shape = tuple(sizes[letter] for letter in row.shape)
    return shape[::-1] if scheme in row.transposed else shape


def _expected(config: BertConfig) -> Iterator[tuple[str, Weight]]:
    for row in WEIGHTS:
        if row.ours == "mlm/decoder" and config.tie_word_embeddings:
            continue
        if "{i}" not in row.ours:
            yield row.ours, row
            continue
        for i in range(config.num_hidden_layers):
            yield row.ours.replace("{i}", str(i)), row


def _read(file: WeightFile, theirs: str, row: Weight, reading: _Reading) -> np.ndarray | None:
    array = _as_ours(file, theirs, row)
    if array.dtype not in _FLOATS:
        reading.misfits.append((theirs, f"is {array.dtype}, not a floating-point number"))
        return None
    own = _aligned(array.shape)
    own[...] = array
    return own


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    """An uninitialised fp32 array where jax on CPU can use it in place: at a multiple of 64 bytes.

    numpy's own begin at multiples of 16.
    """
    size = math.prod(shape)
    room = np.empty(size + 15, np.float32)
    start = -(room.ctypes.data // 4) % 16
    return room[start : start + size].reshape(shape)


def _grouped(misfits: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The same complaint about many layers, once: `encoder.layer.{0…5}.output.dense.bias …`."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, wrong in misfits:
        number = re.search(r"(?<=layer[._/])\d+", name)
        general = name if number is None else f"{name[: number.start()]}{{}}{name[number.end() :]}"
        groups.setdefault((general, wrong), []).append("" if number is None else number[0])
    for (general, wrong), numbers in groups.items():
        shown = numbers[0] if len(numbers) == 1 else f"{{{','.join(numbers)}}}"
        yield f"{general.replace('{}', shown)} {wrong}"
