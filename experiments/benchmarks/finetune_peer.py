"""The other side of `finetune_table.py`: Hugging Face transformers on torch, one seed of one task.

Started by the table with the Python that has torch and transformers (`--peer_python`); needs
nothing of bert_jax. Arguments: one JSON object. Trains as its users do: `AutoModelFor…`, AdamW with
decay on matrices only, linear warm-up and decay, clipping, batches padded to their longest
sequence. Writes the predictions for both held-out parts after each epoch, which the table scores as
it scores ours, and the seconds of each part of the work, to the file that the job names.
"""

import json
import os
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

Batch = dict[str, torch.Tensor]


def main() -> None:
    """Train as the JSON object in argv says, and write what came out."""
    job = json.loads(sys.argv[1])
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(job["seed"])
    began = time.perf_counter()
    tokenizer = transformers.AutoTokenizer.from_pretrained(job["checkpoint"])
    task: Any = TASKS[job["task"]](job, tokenizer)
    model = task.model()
    if job["compile"]:
        model.compile()
    train = task.items("train")
    held_out = {part: task.items(part) for part in ("dev", "test")}
    steps = -(-len(train) // job["batch_size"]) * job["epochs"]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=job["learning_rate"], eps=1e-6, fused=True)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, round(0.1 * steps), steps)
    epochs = []
    seconds = {"prepare": time.perf_counter() - began, "train": 0.0, "dev": 0.0, "test": 0.0}
    tokens = places = 0
    for _ in range(job["epochs"]):
        start = time.perf_counter()
        model.train()
        order = torch.randperm(len(train)).tolist()
        if job["group_by_length"]:
            order = _grouped(order, [len(item["input_ids"]) for item in train], job["batch_size"])
        for begin in range(0, len(order), job["batch_size"]):
            batch = task.batch([train[i] for i in order[begin : begin + job["batch_size"]]])
            tokens += int(batch["attention_mask"].sum())
            places += batch["attention_mask"].numel()
            with torch.autocast("cpu", torch.bfloat16, enabled=job["bf16"]):
                loss = model(**batch).loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        seconds["train"] += time.perf_counter() - start
        found = {}
        for part, items in held_out.items():
            start = time.perf_counter()
            found[part] = task.predictions(part, items, _outputs(model, task, items))
            seconds[part] += time.perf_counter() - start
        epochs.append(found)
    result = {
        "epochs": epochs,
        # What a user waits for: the test part is labelled once, not after every epoch.
        "seconds": sum(seconds.values()) - seconds["test"] * (1 - 1 / job["epochs"]),
        "parts": seconds,
        "tokens_per_second": tokens / seconds["train"],
        "real_token_fraction": tokens / places,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    partial = Path(job["output"] + ".partial")
    partial.write_text(json.dumps(result))
    os.replace(partial, job["output"])


def _grouped(order: list[int], lengths: list[int], batch_size: int) -> list[int]:
    """As transformers' group_by_length: sorted in windows of 50 batches, fewer where few are."""
    window = batch_size * max(min(len(order) // (4 * batch_size), 50), 1)
    return [
        i
        for begin in range(0, len(order), window)
        for i in sorted(order[begin : begin + window], key=lambda i: -lengths[i])
    ]


@torch.no_grad()
def _outputs(model: Any, task: Any, items: list[Any]) -> list[Any]:
    """The logits of each item, in order; batches are of about one length, as in a pipeline."""
    model.eval()
    order = sorted(range(len(items)), key=lambda i: len(items[i]["input_ids"]))
    found: list[Any] = [None] * len(items)
    for begin in range(0, len(order), 32):
        chosen = order[begin : begin + 32]
        with torch.autocast("cpu", torch.bfloat16, enabled=task.job["bf16"]):
            output = model(**task.batch([items[i] for i in chosen], labels=False))
        logits = getattr(output, "logits", None)
        if logits is None:
            logits = torch.stack([output.start_logits, output.end_logits], dim=-1)
        for i, each in zip(chosen, logits.float().numpy(), strict=True):
            found[i] = each
    return found


class _Task:
    labels: tuple[str, ...] = ("labels",)

    def __init__(self, job: dict[str, Any], tokenizer: Any):
        self.job, self.tokenizer = job, tokenizer

    def rows(self, part: str) -> list[dict[str, Any]]:
        with Path(self.job["files"][part]).open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def batch(self, items: list[dict[str, Any]], labels: bool = True) -> Batch:
        inputs = [
            {k: item[k] for k in ("input_ids", "token_type_ids", "attention_mask")}
            for item in items
        ]
        padded = dict(self.tokenizer.pad(inputs, return_tensors="pt"))
        if labels:
            for name in self.labels:
                padded[name] = self.padded_labels(
                    [item[name] for item in items], padded["input_ids"].shape[1]
                )
        return padded

    def padded_labels(self, labels: list[Any], length: int) -> torch.Tensor:
        del length
        return torch.tensor(labels)


class _Texts(_Task):
    """Classification and regression."""

    def __init__(self, job: dict[str, Any], tokenizer: Any):
        super().__init__(job, tokenizer)
        self.regression = job["task"] == "regression"
        names = {str(row["label"]) for row in self.rows("train")}
        self.names = [] if self.regression else sorted(names)

    def model(self) -> Any:
        return transformers.AutoModelForSequenceClassification.from_pretrained(
            self.job["checkpoint"], num_labels=max(len(self.names), 1)
        )

    def items(self, part: str) -> list[dict[str, Any]]:
        rows = self.rows(part)
        texts = [row["text"] for row in rows]
        pairs = [row["pair"] for row in rows] if "pair" in rows[0] else None
        encoded = self.tokenizer(
            texts, pairs, truncation="longest_first", max_length=self.job["max_length"]
        )
        labels = [
            float(row["label"]) if self.regression else self.names.index(str(row["label"]))
            for row in rows
        ]
        return [
            {**{k: encoded[k][i] for k in encoded}, "labels": label}
            for i, label in enumerate(labels)
        ]

    def predictions(self, part: str, items: list[Any], outputs: list[Any]) -> list[Any]:
        del part, items
        if self.regression:
            return [float(output[0]) for output in outputs]
        return [self.names[int(output.argmax())] for output in outputs]


class _Tags(_Task):
    """Tagging, as in the examples of transformers: labels on first pieces."""

    def __init__(self, job: dict[str, Any], tokenizer: Any):
        super().__init__(job, tokenizer)
        parts = ("train", "dev", "test")  # as ours: training may lack a rare tag
        self.names = sorted({t for p in parts for row in self.rows(p) for t in row["tags"]})

    def model(self) -> Any:
        return transformers.AutoModelForTokenClassification.from_pretrained(
            self.job["checkpoint"], num_labels=len(self.names)
        )

    def items(self, part: str) -> list[dict[str, Any]]:
        rows = self.rows(part)
        encoded = self.tokenizer(
            [row["words"] for row in rows], is_split_into_words=True, truncation=True,
            max_length=self.job["max_length"],
        )  # fmt: skip
        items = []
        for i, row in enumerate(rows):
            words = encoded.word_ids(i)
            firsts = {word: place for place, word in reversed(list(enumerate(words)))}
            firsts.pop(None, None)
            labels = [-100] * len(words)
            for word, place in firsts.items():
                labels[place] = self.names.index(row["tags"][word])
            items.append(
                {**{k: encoded[k][i] for k in encoded}, "labels": labels, "firsts": firsts,
                 "count": len(row["words"])}
            )  # fmt: skip
        return items

    def padded_labels(self, labels: list[Any], length: int) -> torch.Tensor:
        return torch.tensor([row + [-100] * (length - len(row)) for row in labels])

    def predictions(self, part: str, items: list[Any], outputs: list[Any]) -> list[Any]:
        del part
        fallback = "O" if "O" in self.names else self.names[0]  # of words that were cut off
        return [
            [
                self.names[int(output[item["firsts"][word]].argmax())]
                if word in item["firsts"]
                else fallback
                for word in range(item["count"])
            ]
            for item, output in zip(items, outputs, strict=True)
        ]


class _Answers(_Task):
    """Question answering, as in transformers' run_qa.py: windows, n-best, the best pair."""

    labels = ("start_positions", "end_positions")

    def model(self) -> Any:
        return transformers.AutoModelForQuestionAnswering.from_pretrained(self.job["checkpoint"])

    def questions(self, part: str) -> list[tuple[dict[str, Any], str]]:
        data = json.loads(Path(self.job["files"][part]).read_text())["data"]
        return [(q, p["context"]) for a in data for p in a["paragraphs"] for q in p["qas"]]

    def items(self, part: str) -> list[dict[str, Any]]:
        asked = self.questions(part)
        encoded = self.tokenizer(
            [q["question"] for q, _ in asked], [context for _, context in asked],
            truncation="only_second", max_length=self.job["max_length"],
            stride=self.job["max_length"] // 3, return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )  # fmt: skip
        items = []
        for i, owner in enumerate(encoded["overflow_to_sample_mapping"]):
            offsets = encoded["offset_mapping"][i]
            inside = [place for place, kind in enumerate(encoded.sequence_ids(i)) if kind == 1]
            start = end = 0
            answer = asked[owner][0]["answers"][0]
            first, last = answer["answer_start"], answer["answer_start"] + len(answer["text"])
            if offsets[inside[0]][0] <= first and offsets[inside[-1]][1] >= last:
                start = max(p for p in inside if offsets[p][0] <= first)
                end = min(p for p in inside if offsets[p][1] >= last)
            keys = ("input_ids", "token_type_ids", "attention_mask")
            items.append(
                {**{k: encoded[k][i] for k in keys}, "start_positions": start,
                 "end_positions": end, "offsets": offsets, "inside": inside, "owner": owner}
            )  # fmt: skip
        return items

    def predictions(self, part: str, items: list[Any], outputs: list[Any]) -> dict[str, str]:
        asked = self.questions(part)
        best: dict[int, tuple[float, str]] = {}
        for item, output in zip(items, outputs, strict=True):
            inside = np.array(item["inside"])
            starts = inside[np.argsort(-output[inside, 0])[:20]]
            ends = inside[np.argsort(-output[inside, 1])[:20]]
            for start in starts:
                for end in ends:
                    score = float(output[start, 0] + output[end, 1])
                    known = best.get(item["owner"], (-np.inf, ""))
                    if start <= end < start + 30 and score > known[0]:
                        context = asked[item["owner"]][1]
                        text = context[item["offsets"][start][0] : item["offsets"][end][1]]
                        best[item["owner"]] = score, text
        return {q["id"]: best.get(i, (0.0, ""))[1] for i, (q, _) in enumerate(asked)}


class _Encoder(torch.nn.Module):
    """Mean-pooled vectors and the loss of sentence-transformers' `CosineSimilarityLoss`."""

    def __init__(self, checkpoint: str):
        super().__init__()
        self.bert = transformers.AutoModel.from_pretrained(checkpoint, add_pooling_layer=False)

    def forward(self, labels: torch.Tensor | None = None, **inputs: torch.Tensor) -> Any:
        states = self.bert(**inputs).last_hidden_state
        real = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
        vectors = (states * real).sum(1) / real.sum(1).clamp(min=1e-9)
        cosines = torch.cosine_similarity(vectors[::2], vectors[1::2])
        loss = None if labels is None else torch.nn.functional.mse_loss(cosines, labels)
        return types.SimpleNamespace(loss=loss, logits=cosines)


class _Similarity(_Task):
    """Both texts of a pair, one after the other."""

    def model(self) -> Any:
        return _Encoder(self.job["checkpoint"])

    def items(self, part: str) -> list[dict[str, Any]]:
        rows = self.rows(part)
        scores = [float(row["label"]) for row in self.rows("train")]
        low, high = min(scores), max(scores)
        sides = [
            self.tokenizer(
                [row[name] for row in rows], truncation=True, max_length=self.job["max_length"]
            )
            for name in ("text", "pair")
        ]
        items = []
        for i, row in enumerate(rows):
            both = [{name: side[name][i] for name in side} for side in sides]
            longest = max((each["input_ids"] for each in both), key=len)
            label = (float(row["label"]) - low) / (high - low)
            items.append({"both": both, "input_ids": longest, "labels": label})
        return items

    def batch(self, items: list[dict[str, Any]], labels: bool = True) -> Batch:
        inputs = [each for item in items for each in item["both"]]
        padded = dict(self.tokenizer.pad(inputs, return_tensors="pt"))
        if labels:
            padded["labels"] = torch.tensor([item["labels"] for item in items])
        return padded

    def predictions(self, part: str, items: list[Any], outputs: list[Any]) -> list[Any]:
        del part, items
        return [float(output) for output in outputs]


TASKS = {
    "classification": _Texts, "regression": _Texts, "tagging": _Tags, "qa": _Answers,
    "similarity": _Similarity,
}  # fmt: skip


if __name__ == "__main__":
    main()
