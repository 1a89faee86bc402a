"""A model card: the README.md of an exported directory, which the Hugging Face hub shows.

What is in it stands in files: of a run of ours, config.json and result.json of its workdir. A model
of others keeps its card; a section is added that says what was done here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from bert_jax.convert.contents import Pretrained
from bert_jax.file_digests import read_sealed
from bert_jax.mirror import copy_of
from bert_jax.version import __version__

CARD = "README.md"
_CONVERTED = "## Converted by bert_jax"
_USES = {
    "BertForPreTraining": "fill-mask",
    "BertForMaskedLM": "fill-mask",
    "BertForSequenceClassification": "text-classification",
    "BertForTokenClassification": "token-classification",
    "BertForQuestionAnswering": "question-answering",
    "BertForMultipleChoice": "multiple-choice",
}

_FOLDERS = re.compile(r"(^|(?<=[=,]))/(?:[^/,]+/)+(?=[^/,]+/[^/,]+(?:,|$))")  # all but two


class Run(NamedTuple):
    """What stands in the workdir of a run."""

    settings: Mapping[str, Any]  # config.json
    result: Mapping[str, Any]  # result.json; empty where it is not complete


def run_of(place: str | Path) -> Run | None:
    """The run that a checkpoint WORKDIR/checkpoints/STEP is of; None where it is of none.

    Raises:
        DamagedFileError: a file of the workdir is not what the run wrote.
    """
    checkpoint = copy_of(place)
    workdir = checkpoint.parent.parent
    if checkpoint.parent.name != "checkpoints" or not (workdir / "config.json").is_file():
        return None
    files = [workdir / name for name in ("config.json", "result.json")]
    remedy = "take a copy, or remove it, and the card says less"
    return Run(*(read_sealed(file, remedy) if file.is_file() else {} for file in files))


def without_folders(word: str) -> str:
    """A path, several with commas, or a flag, each absolute path by its last two parts.

    Others need not know where files lay.

    >>> without_folders("--train=/home/ann/my data/sick/train.tsv,b.tsv")
    '--train=…/sick/train.tsv,b.tsv'
    """
    return _FOLDERS.sub("…/", word)


def model_card(pretrained: Pretrained, name: str, command: str) -> str:
    """The text of a card.

    Args:
        pretrained: the model; `origin` says where it was read, `card` what its card said.
        name: to call the model.
        command: that exports it.
    """
    if pretrained.card is not None:
        before = pretrained.card.partition(f"\n{_CONVERTED}")[0].rstrip()
        return f"{before}\n\n{_CONVERTED}\n\n{_how(pretrained, command)}"
    run = None if pretrained.origin is None else run_of(pretrained.origin)
    parts = [_metadata(pretrained), f"# {name}\n\n{_what(pretrained)}\n"]
    if run is not None:
        parts += [_table("Data", _data(run)), _table("Training", _training(run))]
        parts += [_table("Held-out scores", dict(_scores(run.result))), _made_by(run)]
    parts.append(f"## Exported\n\n{_how(pretrained, command)}")
    parts.append(
        "## License\n\nUnknown: nobody has said one yet. The text it learned from may have one."
        " Whoever publishes this model writes it here, and `license` in the first lines.\n"
    )
    return "\n".join(part for part in parts if part)


def _metadata(pretrained: Pretrained) -> str:
    is_encoder = pretrained.sentences is not None
    use = "sentence-similarity" if is_encoder else _USES.get(pretrained.architecture)
    lines = ["license: unknown"]
    lines.append(f"library_name: {'sentence-transformers' if is_encoder else 'transformers'}")
    lines += [f"pipeline_tag: {use}"] if use else []
    origin, at, _ = (pretrained.origin or "").partition("@")
    lines += [f"base_model: {origin}"] if at else []
    return "\n".join(["---", *lines, "tags:", "- bert", "- bert_jax", "---", ""])


def _what(pretrained: Pretrained) -> str:
    config, tokenizer = pretrained.config, pretrained.tokenizer
    said = (
        f"A `{pretrained.architecture}` with {config.num_hidden_layers} layers of width"
        f" {config.hidden_size}, {config.num_attention_heads} attention heads and"
        f" {config.max_position_embeddings} positions"
    )
    if tokenizer is not None:
        casing = "uncased" if tokenizer.lowercase else "cased"
        said += f"; its {'' if tokenizer.splitting.has_words else 'own '}vocabulary has"
        said += f" {tokenizer.vocab_size:,} pieces"
        said += f", {casing}" if tokenizer.splitting.has_words else ""
    if pretrained.labels:
        said += f". Classes: {', '.join(pretrained.labels)}"
    return said + "."


def _data(run: Run) -> dict[str, Any]:
    settings, result = run
    names = ("corpus", "task", "train", "dev", "test", "checkpoint", "init_checkpoint")
    rows = {name: settings[name] for name in names if settings.get(name)}
    if isinstance(start := result.get("initialised_from"), dict):
        rows["init_checkpoint"] = start.get("checkpoint")
    rows |= {f"{part} examples": n for part, n in (result.get("examples") or {}).items()}
    if "corpus_fingerprint" in result:
        rows["fingerprint of the corpus"] = result["corpus_fingerprint"][:16]
    return rows


def _training(run: Run) -> dict[str, Any]:
    names = (
        "steps", "epochs", "batch_size", "phases", "objective", "masking", "mask_rate", "optimizer",
        "learning_rate", "schedule", "weight_decay", "max_length", "dtype", "seed", "seeds",
    )  # fmt: skip
    rows = {name: value for name in names if (value := run.settings.get(name)) is not None}
    return rows | ({} if run.result else {"state": "not complete when it was exported"})


def _scores(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Held-out figures of pretraining; of fine-tuning, the mean over seeds and its deviation."""
    for name, value in result.items():
        if name.startswith("heldout_") and isinstance(value, int | float):
            yield name.removeprefix("heldout_"), f"{value:.4g}" if value < 1e4 else f"{value:,.0f}"
    for part, scores in (result.get("scores") or {}).items():
        for name, figures in scores.items():
            mean, deviation = figures["mean"], figures["std"]
            seeds = f" ± {deviation:.2g}, {len(figures['per_seed'])} seeds" if deviation else ""
            yield f"{part} {name}", f"{mean:.4g}{seeds}"


def _made_by(run: Run) -> str:
    """The command of the run, with every setting, so that it does not depend on defaults."""
    experiment = "finetune" if "task" in run.settings else "pretrain"
    words = ["python", "-m", f"experiments.{experiment}"]
    for name, value in run.settings.items():
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no'}{name}")
        elif isinstance(value, dict):
            words += [f"--{name}={key}={_listed(each)}" for key, each in value.items()]
        elif name == "corpus" and isinstance(value, list):
            words += [f"--{name}={each}" for each in value]
        elif value not in (None, "", []):
            words.append(f"--{name}={_listed(value)}")
    return f"## Command\n\n```\n{_wrapped(words)}\n```\n"


def _listed(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _wrapped(words: list[str]) -> str:
    lines = [""]
    for word in map(shlex.quote, map(without_folders, words)):
        if lines[-1] and len(lines[-1]) + len(word) > 88:
            lines.append("   ")
        lines[-1] += f"{' ' if lines[-1] else ''}{word}"
    return " \\\n".join(lines)


def _how(pretrained: Pretrained, command: str) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("jax", "flax", "numpy"))
    rows = {"from": pretrained.origin or "memory", "by": f"bert_jax {__version__}, {versions}"}
    said = "".join(f"* {note}\n" for note in pretrained.notes)
    shown = shlex.join(map(without_folders, shlex.split(command)))
    return f"{_rows(rows)}\n```\n{shown}\n```\n" + (f"\n{said}" if said else "")


def _table(title: str, rows: Mapping[str, Any]) -> str:
    return f"## {title}\n\n{_rows(rows)}" if rows else ""


def _rows(rows: Mapping[str, Any]) -> str:
    lines = ["| | |", "|---|---|"]
    for name, value in rows.items():
        text = f"{value:,}" if isinstance(value, int) else _listed(value)
        escaped = " ".join(without_folders(text).replace("|", r"\|").split())
        lines.append(f"| {name} | {escaped} |")
    return "\n".join(lines) + "\n"
