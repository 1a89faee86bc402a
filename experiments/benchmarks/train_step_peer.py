"""The other side of `train_step.py`: Hugging Face's BertForPreTraining on torch, as a worker.

Started by the benchmark with the Python that has torch and transformers (`--peer_python`); needs
nothing of bert_jax. Arguments: one JSON object. Standard input: a number of steps a line; standard
output: for each of those steps its milliseconds of the clock and of the processor, as one JSON list
a line, so that the sides can take turns. Runs on the GPU where torch sees one.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers


def as_shipped(model: Any) -> Callable[..., Any]:
    """What `BertForPreTraining` returns: its logits are those of every token."""
    return lambda **inputs: model(**inputs).loss


def masked_only(model: Any) -> Callable[..., Any]:
    """The same loss, whose logits are those of the masked tokens alone, as ours are."""
    return _masked_only(model, lambda run: run)


def compiled(model: Any) -> Callable[..., Any]:
    """That by torch.compile, but for finding the masked tokens, whose number is data."""
    return _masked_only(model, torch.compile)


def _masked_only(model: Any, compile_: Callable[..., Any]) -> Callable[..., Any]:
    def loss_at(masked: Any, labels: Any, next_sentence_label: Any, inputs: Any) -> Any:
        hidden, pooled = model.bert(**inputs)[:2]
        logits = model.cls.predictions(hidden.flatten(0, 1)[masked])
        entropy = torch.nn.functional.cross_entropy
        of_pairs = entropy(model.cls.seq_relationship(pooled), next_sentence_label)
        return entropy(logits, labels) + of_pairs

    run = compile_(loss_at)

    def loss_of(labels: Any, next_sentence_label: Any, **inputs: Any) -> Any:
        masked = labels.flatten().ne(-100).nonzero().squeeze(1)
        return run(masked, labels.flatten()[masked], next_sentence_label, inputs)

    return loss_of


FORMS = {"shipped": as_shipped, "masked": masked_only, "compiled": compiled}


def main() -> None:
    """Build the model of the JSON object in argv, then time steps as asked."""
    job = json.loads(sys.argv[1])
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = transformers.BertConfig(**job["config"])
    model: Any = transformers.BertForPreTraining(config).train().to(device)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
        lr=1e-4,
        eps=1e-6,
        fused=True,
    )
    rows, length, predictions = job["batch_size"], job["length"], job["predictions"]
    ids = torch.randint(0, config.vocab_size, (rows, length))
    segments = (torch.arange(length) >= length // 2).long().expand(rows, length)
    labels = torch.full((rows, length), -100)
    labels[:, 1 : predictions + 1] = ids[:, 1 : predictions + 1]
    inputs = {
        "input_ids": ids,
        "token_type_ids": segments,
        "attention_mask": torch.ones_like(ids),
        "labels": labels,
        "next_sentence_label": torch.randint(0, 2, (rows,)),
    }
    inputs = {name: array.to(device) for name, array in inputs.items()}
    loss_of = FORMS[job["form"]](model)
    half = job["dtype"] == "bfloat16"

    def step() -> tuple[float, float]:
        wall, processor = time.perf_counter(), time.process_time()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss = loss_of(**inputs)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)

    began = time.perf_counter()
    for _ in range(3):  # compiled, it compiles a second time once the optimiser has its moments
        step()
    warm = time.perf_counter() - began
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    gib = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
    print(json.dumps({**versions, "warm_up_s": warm, **({"gib": gib} if gib else {})}))
    sys.stdout.flush()
    for line in sys.stdin:
        print(json.dumps([step() for _ in range(int(line))]))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
