"""Make `huggingface.npz`: what BertForPreTraining of transformers computes for the golden cases.

    PEERS/bin/python -m tests.golden.make_huggingface      (torch 2.13, transformers 5.23)

Weights and inputs come from `rule.py`; torch computes in float64, so what is stored is right to
the last digit of fp32. Numbers only: outputs of every layer, logits, losses, gradients.
"""

from pathlib import Path

import numpy as np
import torch
import transformers

from tests.golden import rule


def compute(case: str) -> dict[str, np.ndarray]:
    """Run one case forward and backward and name every result."""
    config = transformers.BertConfig(**rule.CASES[case], attn_implementation="eager")
    model = transformers.BertForPreTraining(config).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(rule.weight(name, tuple(parameter.shape))))
    batch = {name: torch.from_numpy(array).long() for name, array in rule.batch(case).items()}
    labels = torch.full_like(batch["input_ids"], -100)
    labels.scatter_(1, batch["masked_positions"], batch["masked_labels"])
    output = model(
        input_ids=batch["input_ids"],
        token_type_ids=batch["token_type_ids"],
        attention_mask=batch["attention_mask"],
        labels=labels,
        next_sentence_label=batch["next_labels"],
        output_hidden_states=True,
        output_attentions=True,
    )
    output.loss.backward()
    pooled = model.bert(
        batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]
    ).pooler_output
    results = {
        "pooled": pooled,
        "mlm_logits": output.prediction_logits,
        "nsp_logits": output.seq_relationship_logits,
        "loss": output.loss,
    }
    for i, states in enumerate(output.hidden_states):
        results[f"hidden {i}"] = states
    for i, maps in enumerate(output.attentions):
        results[f"attention {i}"] = maps
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:  # an untied head leaves cls.predictions.bias unused
            results[f"gradient {name}"] = parameter.grad
    return {
        f"{case} {name}": value.detach().numpy().astype(np.float32)
        for name, value in results.items()
    }


def compute_heads(case: str) -> dict[str, np.ndarray]:
    """The logits of one case under every output layer."""
    results = {}
    for name, labels in rule.HEADS.items():
        config = transformers.BertConfig(
            **rule.CASES[case], attn_implementation="eager", num_labels=labels
        )
        model = getattr(transformers, name)(config).double().eval()
        with torch.no_grad():
            for weight, parameter in model.named_parameters():
                parameter.copy_(torch.from_numpy(rule.weight(weight, tuple(parameter.shape))))
        names = ("input_ids", "token_type_ids", "attention_mask")
        batch = {key: torch.from_numpy(rule.batch(case)[key]).long() for key in names}
        if name == "BertForMultipleChoice":
            batch = {key: array[None] for key, array in batch.items()}
        output = model(**batch)
        logits = ("logits",) if "logits" in output else ("start_logits", "end_logits")
        for key in logits:
            results[f"{case} {name} {key}"] = output[key].detach().numpy().astype(np.float32)
    return results


def main() -> None:
    """Compute all cases and write the file beside this one."""
    arrays: dict[str, np.ndarray] = {}
    for case in rule.CASES:
        arrays.update(compute(case))
        arrays.update(compute_heads(case))
    np.savez_compressed(Path(__file__).with_name("huggingface.npz"), **arrays)


if __name__ == "__main__":
    main()
