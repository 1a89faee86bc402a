r"""Convert a BERT checkpoint: Hugging Face's, Google's TensorFlow, or ours, each to each.

    python -m experiments.convert --from=runs/pretrain --to=exported                # ours -> HF
    python -m experiments.convert --from=bert-base-uncased --to=base --format=ours  # hub -> ours
    python -m experiments.convert --from=uncased_L-12 --to=base                     # Google -> HF

`--from` is a checkpoint or workdir of ours, a Hugging Face directory (safetensors, or the
flax_model.msgpack of transformers 4), a folder of the hub's cache, a Google checkpoint (its
directory, or its prefix such as DIR/bert_model.ckpt), or a name on the Hugging Face hub. Pooler,
masked-LM, next-sentence and fine-tuned heads, class names and the vocabulary go along; what the
new form has no place for is said. What a directory of sentence-transformers says of vectors goes
along, too; `--pooling=mean` says it of a model that does not: `SentenceTransformer(…)` gives these
vectors. `--to` is a new directory, whole or not there at all:

    huggingface   config.json, model.safetensors, vocab.txt, tokenizer.json, tokenizer_config.json
    google        bert_model.ckpt.*, bert_config.json, vocab.txt
    ours          an orbax checkpoint, its embedding tables an item of their own

Google's form needs TensorFlow (`pip install -e '.[google-tf]'`), nothing needs torch. Pickled
weights (pytorch_model.bin) go through `experiments.unpickle` first.
"""

import dataclasses
from collections.abc import Callable

import jax
from absl import flags

from bert_jax.cli import command
from bert_jax.cli.outputs import define_overwrite, overwrites
from bert_jax.cli.text_flags import define_splitting
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.google_tf import save_google
from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.ours import save_ours
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.convert.sentence_encoders import SentenceEncoder
from bert_jax.errors import UserError
from bert_jax.pooling import POOLINGS
from bert_jax.text.tokenizer import Tokenizer

_FROM = flags.DEFINE_string("from", None, "The checkpoint to read: a path, or a name on the hub.")
_TO = flags.DEFINE_string("to", None, "The directory to write.")
_FORMAT = flags.DEFINE_enum(
    "format", "huggingface", ["huggingface", "google", "ours"], "What to write."
)
_SPLITTING = define_splitting()
_POOLING = flags.DEFINE_enum(
    "pooling",
    None,
    [pooling.name for pooling in POOLINGS],
    "How it makes one vector of a text, as a sentence encoder; by default as the model says.",
)
_ALLOW_NOT_FINITE = flags.DEFINE_bool(
    "allow_not_finite", False, "Copy NaN and infinite weights, as of a run that diverged."
)
define_overwrite()

_SAVERS: dict[str, Callable[..., tuple[str, ...]]] = {
    "huggingface": save_huggingface,
    "google": save_google,
    "ours": save_ours,
}


def main() -> None:
    """Read, write, and say what was converted and what was not."""
    if not _FROM.value or not _TO.value:
        raise UserError("got no --from or no --to; expected --from=CHECKPOINT --to=DIRECTORY")
    pretrained = load_pretrained(
        _FROM.value,
        splitting=_SPLITTING.value,
        allow_not_finite=bool(_ALLOW_NOT_FINITE.value),
    )
    pretrained = _as_sentence_encoder(pretrained)
    save = _SAVERS[str(_FORMAT.value)]
    notes = save(pretrained, _TO.value, overwrite=overwrites())
    command.print_table("Converted", {"from": _FROM.value, "to": _TO.value, **_shown(pretrained)})
    for note in (*pretrained.notes, *notes):
        print(f"note: {note}")


def _as_sentence_encoder(pretrained: Pretrained) -> Pretrained:
    pooling = tuple(each for each in POOLINGS if each.name == _POOLING.value)
    if not pooling:
        return pretrained
    said = pretrained.sentences or SentenceEncoder()
    said = dataclasses.replace(said, poolings=pooling, layers=(), not_obeyed=())
    return dataclasses.replace(pretrained, sentences=said)


def _shown(pretrained: Pretrained) -> dict[str, str]:
    config, tokenizer = pretrained.config, pretrained.tokenizer
    size = sum(leaf.size for leaf in jax.tree.leaves(pretrained.params))
    return {
        "model": f"{pretrained.architecture}, {config.num_hidden_layers} layers of width "
        f"{config.hidden_size}",
        "parameters": f"{size:,}",
        "token table": f"{config.vocab_size:,} rows",
        "vocabulary": "none" if tokenizer is None else _described(tokenizer),
        "sentence vectors": _vectors(pretrained.sentences),
        "class names": ", ".join(pretrained.labels) or "-",
    }


def _vectors(sentences: SentenceEncoder | None) -> str:
    if sentences is None:
        return "-"
    poolings = " and ".join(pooling.name for pooling in sentences.poolings) or "not known here"
    layers = f", {len(sentences.layers)} layers over it" if sentences.layers else ""
    return poolings + layers + (", of unit length" if sentences.normalize else "")


def _described(tokenizer: Tokenizer) -> str:
    casing = "uncased" if tokenizer.lowercase else "cased"
    name = tokenizer.splitting.name
    how = casing if tokenizer.splitting.has_words else f"text split by {name}"
    return f"{tokenizer.vocab_size:,} pieces, {how}"


if __name__ == "__main__":
    command.run(main)
