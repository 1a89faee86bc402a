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

    huggingface   config.json, model.safetensors, vocab.txt, tokenizer.json, tokenizer_config.json,
                  README.md: a model card, of a run of ours with its data, steps, scores and command
    google        bert_model.ckpt.*, bert_config.json, vocab.txt
    ours          an orbax checkpoint, its embedding tables an item of their own

`--push_to_hub=OWNER/NAME` also puts the directory on the Hugging Face hub (`--private`: for nobody
else to see), with the token of `hf auth login` or HF_TOKEN, and prints the commit, by which
OWNER/NAME@COMMIT is read again everywhere.

Google's form needs TensorFlow (`pip install -e '.[google-tf]'`), nothing needs torch. Pickled
weights (pytorch_model.bin) go through `experiments.unpickle` first.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
from absl import flags

from bert_jax import hub
from bert_jax.cli import command
from bert_jax.cli.compiled_programs import define_compilation_cache
from bert_jax.cli.outputs import define_overwrite, overwrites
from bert_jax.cli.text_flags import define_splitting
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.google_tf import save_google
from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.model_card import model_card, without_folders
from bert_jax.convert.ours import save_ours
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.convert.sentence_encoders import SentenceEncoder
from bert_jax.errors import UserError
from bert_jax.mirror import at_hand
from bert_jax.pooling import POOLINGS
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.version import __version__

_FROM = flags.DEFINE_string(
    "from", None, "Checkpoint to read: a path, or a name on the Hugging Face hub."
)
_TO = flags.DEFINE_string("to", None, "Directory to write.")
_FORMAT = flags.DEFINE_enum(
    "format", "huggingface", ["huggingface", "google", "ours"], "Format to write."
)
_SPLITTING = define_splitting()
_POOLING = flags.DEFINE_enum(
    "pooling",
    None,
    [pooling.name for pooling in POOLINGS],
    "How the sentence encoder pools tokens into one vector; by default as the model says.",
)
_PUSH_TO_HUB = flags.DEFINE_string(
    "push_to_hub", None, "OWNER/NAME on the Hugging Face hub: upload the result there too."
)
_PRIVATE = flags.DEFINE_bool(
    "private", False, "Make a repository that --push_to_hub creates private."
)
_ALLOW_NOT_FINITE = flags.DEFINE_bool(
    "allow_not_finite", False, "Copy NaN and infinite weights, for instance of a run that diverged."
)
define_overwrite()
define_compilation_cache()

_SAVERS: dict[str, Callable[..., tuple[str, ...]]] = {
    "huggingface": save_huggingface,
    "google": save_google,
    "ours": save_ours,
}


def main() -> None:
    """Read, write, and say what was converted and what was not."""
    if not _FROM.value or not _TO.value:
        raise UserError("got no --from or no --to; expected --from=CHECKPOINT --to=DIRECTORY")
    pushed, private = _PUSH_TO_HUB.value, bool(_PRIVATE.value)
    save = _SAVERS[str(_FORMAT.value)]
    if pushed is not None:
        hub.check_pushable("push_to_hub", pushed)
        if save is not save_huggingface:
            raise UserError(
                f"got --push_to_hub={pushed} with --format={_FORMAT.value}; expected"
                " --format=huggingface, which the hub's users can open"
            )
    elif private:
        raise UserError("got --private alone; expected --push_to_hub=OWNER/NAME with it")
    pretrained = load_pretrained(
        _FROM.value,
        splitting=_SPLITTING.value,
        allow_not_finite=bool(_ALLOW_NOT_FINITE.value),
    )
    pretrained = _as_sentence_encoder(pretrained)
    name = pushed or Path(_TO.value).name
    pretrained = dataclasses.replace(
        pretrained, card=model_card(pretrained, name, command.command_line())
    )
    notes = save(pretrained, _TO.value, overwrite=overwrites())
    shown = {"from": _FROM.value, "to": _TO.value, **_shown(pretrained)}
    if pushed is not None:
        message = f"Convert {without_folders(str(_FROM.value))} with bert_jax {__version__}"
        commit = hub.push(at_hand(_TO.value), pushed, private=private, message=message)
        shown["pushed to"] = f"{pushed}@{commit}"
    command.print_table("Converted", shown)
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
        "origin": pretrained.origin or "-",
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
