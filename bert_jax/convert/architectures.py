"""Hugging Face's model classes: which parts each has."""

from __future__ import annotations

from bert_jax.errors import UserError
from bert_jax.parameters import Parameters

# Parts beside embeddings and encoder. The first architecture that has just the parts of a
# checkpoint is what it is where nothing says so; a classifier alone does not tell what it is for.
PARTS: dict[str, frozenset[str]] = {
    "BertModel": frozenset({"pooler"}),
    "BertForPreTraining": frozenset({"pooler", "mlm", "nsp"}),
    "BertForMaskedLM": frozenset({"mlm"}),
    "BertForNextSentencePrediction": frozenset({"pooler", "nsp"}),
    "BertForSequenceClassification": frozenset({"pooler", "classifier"}),
    "BertForMultipleChoice": frozenset({"pooler", "classifier"}),
    "BertForTokenClassification": frozenset({"classifier"}),
    "BertForQuestionAnswering": frozenset({"qa_outputs"}),
}


def parts_of(params: Parameters) -> frozenset[str]:
    """Which parts beside embeddings and encoder parameters have."""
    heads = set(params) - {"bert"}
    return frozenset(heads | ({"pooler"} & set(params["bert"])))


def architecture_of(params: Parameters, stated: str | None = None) -> str:
    """Hugging Face's class for parameters: the stated one if it has their heads, else by parts.

    Whether there is a pooler decides last: files often hold one that their class does not use.

    Raises:
        UserError: no class has these heads.
    """
    parts = parts_of(params)
    heads = parts - {"pooler"}
    if stated in PARTS and PARTS[stated] - {"pooler"} == heads:
        return stated
    same_heads = [name for name, has in PARTS.items() if has - {"pooler"} == heads]
    if not same_heads:
        raise UserError(
            f"got weights with the heads {', '.join(sorted(heads))}; expected those of one model "
            f"of Hugging Face: {', '.join(PARTS)}"
        )
    return next((name for name in same_heads if PARTS[name] == parts), same_heads[0])
