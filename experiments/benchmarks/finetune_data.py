"""The data and the recipes of `finetune_table.py`: eight tasks, the same for both sides.

Writes a folder a task with `train`, `dev` and `test`: JSON lines of texts and labels, SQuAD JSON,
or the tagged files as they are beside the same as JSON lines (for the other side, whose script
reads nothing else). sentence_polarity and subjectivity, which have no official parts, are cut
80/10/10 at random by seed 0. Of the 48 articles of SQuAD's development part, 10 are learned from, 2
chosen by and 3 others measured with; questions whose answer occurs more than once, so that nobody
knows which occurrence is meant, are left out of training.
"""

import dataclasses
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bert_jax.data.counter_rng import shuffled, stream_key
from bert_jax.tasks.lines import numbered_lines
from bert_jax.tasks.tables import read_table
from bert_jax.tasks.tagged_files import read_columns, read_conllu
from bert_jax.whole_file import write_json, write_json_lines

_SEED = 0
_PARTS = ("train", "dev", "test")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a task of the table is trained, by both sides alike.

    Attributes:
        scores: those compared; the first chooses the epoch.
    """

    name: str
    task: str
    scores: tuple[str, ...]
    suffix: str  # of the files that experiments.finetune reads
    epochs: int
    learning_rate: float
    max_length: int = 128
    batch_size: int = 32


RECIPES = (  # the quickest first
    Recipe("ud_atis", "tagging", ("accuracy",), "conllu", 2, 2e-4),
    Recipe("sick_r", "regression", ("pearson", "spearman"), "jsonl", 1, 1e-4),
    Recipe("sick_similarity", "similarity", ("spearman", "pearson"), "jsonl", 1, 1e-4),
    Recipe("sick_e", "classification", ("accuracy",), "jsonl", 1, 1e-4),
    Recipe("wnut17", "tagging", ("entity_f1",), "conll", 2, 2e-4),
    Recipe("sentence_polarity", "classification", ("accuracy",), "jsonl", 1, 1e-4),
    Recipe("subjectivity", "classification", ("accuracy",), "jsonl", 1, 1e-4),
    Recipe("squad", "qa", ("f1", "exact"), "json", 1, 2e-4, max_length=384, batch_size=16),
)


def write_tasks(data: Path, out: Path) -> dict[str, str]:
    """Write the tasks and return, by name, how many examples each part has."""
    polarity, subjectivity = data / "sentence_polarity", data / "subjectivity"
    sources = {
        "sentence_polarity": (("neg", polarity / "rt-polarity.neg"),
                              ("pos", polarity / "rt-polarity.pos")),
        "subjectivity": (("objective", subjectivity / "plot.tok.gt9.5000"),
                         ("subjective", subjectivity / "quote.tok.gt9.5000")),
    }  # fmt: skip
    counts = {}
    for name, files in sources.items():
        rows = [
            {"text": line.strip(), "label": label}
            for label, path in files
            for _, line in numbered_lines(path)
            if line.strip()
        ]
        order = shuffled(stream_key(_SEED), len(rows))
        ends = (0, round(0.8 * len(rows)), round(0.9 * len(rows)), len(rows))
        for part, begin, end in zip(_PARTS, ends, ends[1:], strict=False):
            _write(out / name / f"{part}.jsonl", [rows[i] for i in order[begin:end]])
        counts[name] = _shown(ends[1], ends[2] - ends[1], ends[3] - ends[2])
    for name, file in (("sick_e", "sick_e"), ("sick_r", "sick_r"), ("sick_similarity", "sick_r")):
        sizes = []
        for part in _PARTS:
            table = read_table(data / "sick" / f"{file}_{part}.tsv", ["text", "pair", "label"])
            columns = [table.texts(column, column) for column in ("text", "pair", "label")]
            rows = [
                dict(zip(table.columns, row, strict=True)) for row in zip(*columns, strict=True)
            ]
            _write(out / name / f"{part}.jsonl", rows)
            sizes.append(len(rows))
        counts[name] = _shown(*sizes)
    tagged = {
        "wnut17": [(part, data / "wnut17" / f"{part}.conll") for part in _PARTS],
        "ud_atis": [(part, data / "ud" / f"en_atis-ud-{part}.conllu") for part in _PARTS],
    }
    for name, parts in tagged.items():
        sizes = []
        for part, path in parts:
            reads = read_conllu if path.suffix == ".conllu" else read_columns
            sentences = reads(path)
            _write(
                out / name / f"{part}.jsonl",
                [{"words": list(s.words), "tags": list(s.tags)} for s in sentences],
            )
            shutil.copyfile(path, out / name / f"{part}{path.suffix}")
            sizes.append(len(sentences))
        counts[name] = _shown(*sizes)
    counts["squad"] = _shown(*_write_squad(data / "squad" / "dev-v1.1.rebuilt.json", out / "squad"))
    return counts


def _write_squad(path: Path, folder: Path) -> list[int]:
    """10 of the 48 articles to learn from, 2 to choose by and 3 others to measure with."""
    articles = json.loads(path.read_text())["data"]
    order = shuffled(stream_key(_SEED), len(articles))
    sizes = []
    for part, begin, end in (("train", 0, 10), ("dev", 10, 12), ("test", 12, 15)):
        chosen = [articles[i] for i in order[begin:end]]
        if part == "train":
            chosen = [_certain(article) for article in chosen]
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{part}.json", {"version": "1.1", "data": chosen})
        sizes.append(sum(len(p["qas"]) for a in chosen for p in a["paragraphs"]))
    return sizes


def _certain(article: dict[str, Any]) -> dict[str, Any]:
    """An article with the answers that occur once in their paragraph, and these questions."""
    paragraphs = []
    for paragraph in article["paragraphs"]:
        questions = []
        for question in paragraph["qas"]:
            answers = [a for a in question["answers"] if a["n_occurrences"] == 1]
            if answers:
                questions.append({**question, "answers": answers})
        if questions:
            paragraphs.append({**paragraph, "qas": questions})
    return {**article, "paragraphs": paragraphs}


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json_lines(path, rows)


def _shown(*sizes: int) -> str:
    return " / ".join(f"{size:,}" for size in sizes)


def finetune_flags(recipe: Recipe, folder: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """The flags of `experiments.finetune` for a recipe."""
    pairs = {"text_pair_column": "pair"} if recipe.name.startswith("sick") else {}
    files = {part: folder / recipe.name / f"{part}.{recipe.suffix}" for part in _PARTS}
    return {
        "task": recipe.task,
        **files,
        **pairs,
        "epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "batch_size": recipe.batch_size,
        "max_length": recipe.max_length,
        "seeds": ",".join(map(str, seeds)),
    }
