"""The model that a run starts from: read and checked, moved to the run's vocabulary, put in place.

    what the model has              taken, heads too
    what the run's model lacks      left out: a classifier; with masked LM alone, pooler and nsp
    what the model lacks            drawn from the run's seed, as without a model to start from

Where the run has another vocabulary, the token table, the bias of the masked-LM head and an untied
decoder are moved to it (`bert_jax.tables.model_surgery`).

A run that has a checkpoint goes on from that, and needs the model no more. What was taken, and how
good it was before the first step, stands in `start.json` of the workdir.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from bert_jax.checkpoint_files import load_json
from bert_jax.config import BertConfig
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.models import missing_weights, parts_named
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.data.corpus import Corpus
from bert_jax.data.documents import Documents
from bert_jax.errors import UserError
from bert_jax.file_digests import read_sealed, write_sealed
from bert_jax.first_process import told_by_first
from bert_jax.mirror import as_given, at_hand
from bert_jax.model.embeddings import Parts
from bert_jax.parameters import Parameters, abstract_params
from bert_jax.pretrained_paths import checkpoint_at_hand, find_ours
from bert_jax.progress import ProgressBar
from bert_jax.tables.context_vectors import context_vectors
from bert_jax.tables.embedding_tables import normalisation
from bert_jax.tables.model_surgery import ModelParts, move_model_vocabulary
from bert_jax.tables.row_rules import SpellingRegression
from bert_jax.tables.vocabulary_surgery import NewRows, VocabularyReport, with_added_pieces
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.text.vocabulary_record import tokenizer_from_record
from bert_jax.text.word_counts import WordSettings
from bert_jax.training.objectives import OBJECTIVES
from bert_jax.training.pretraining_settings import PretrainingSettings
from bert_jax.whole_file import write_json

_PIECES_READ = 20_000_000  # of the corpus, to learn how pieces are used: about a minute

START, MOVE = "start.json", "vocabulary_move.json"
STARTED = ("initialised_from", "heldout_start_mlm_loss", "heldout_start_nsp_accuracy")
"""What `start.json` holds; the last is absent where next sentence prediction is no objective."""


@dataclasses.dataclass(frozen=True, eq=False)
class GivenModel:
    """The model a run starts from, before the run has its vocabulary.

    Attributes:
        source: where it lies.
        config: sizes, with the run's choices.
        params: nested dict of numpy arrays; None where the run has a checkpoint and goes on from
            that.
        tokenizer: the model's own vocabulary.
        vocabulary: that of the run; None where it is learned from the corpus.
        drawn: weights that the model lacks.
        notes: what there is to say about its files.
    """

    source: str
    config: BertConfig
    params: Parameters | None
    tokenizer: Tokenizer
    vocabulary: Tokenizer | None
    drawn: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def words(self, lowercase: bool | None) -> WordSettings:
        """How a learned vocabulary treats text: as the model's own does, but for what is said."""
        own = self.tokenizer.normalisation
        if lowercase not in (None, own.lowercase):
            own = dataclasses.replace(own, lowercase=lowercase, strip_accents=None)
        return WordSettings(**vars(own), splitting=self.tokenizer.splitting)

    def with_vocabulary(self, tokenizer: Tokenizer, text: Documents | None = None) -> StartingModel:
        """The model with the vocabulary that the run has; as it is where that is its own.

        Args:
            tokenizer: of that vocabulary.
            text: cut by it. New pieces then get rows like those of pieces that are used like them
                there, not only of those spelled like them; its first 20 million pieces are read.
        """
        if self.params is None or tokenizer.vocab_hash == self.tokenizer.vocab_hash:
            return StartingModel(self, self.config, self.params, None)
        contexts = None if text is None else context_vectors(tokenizer, _first_documents(text))
        moved = move_model_vocabulary(
            ModelParts(self.config, self.params, self.tokenizer),
            tokenizer,
            NewRows(SpellingRegression(contexts)),
        )
        return StartingModel(self, moved.model.config, moved.model.params, moved.report)


@dataclasses.dataclass(frozen=True, eq=False)
class StartingModel:
    """The model a run starts from.

    Attributes:
        given: as it was read.
        config: sizes, with the rows of the run's vocabulary.
        params: nested dict of numpy arrays; None where the run goes on from a checkpoint.
        report: what became of the pieces; None where the vocabulary is kept.
    """

    given: GivenModel
    config: BertConfig
    params: Parameters | None
    report: VocabularyReport | None

    def start(self, params: Parameters) -> Parameters:
        """Put what the model has into parameters that were drawn."""
        if self.params is None:
            return params
        own = flatten_dict(self.params, sep="/")
        flat = flatten_dict(params, sep="/")
        return unflatten_dict(
            {k: np.array(own[k]) if k in own else leaf for k, leaf in flat.items()}, sep="/"
        )

    def origin(self) -> dict[str, Any]:
        """What was taken, by name: `initialised_from` of a run's `result.json`."""
        given = self.given
        have = flatten_dict(given.params or {}, sep="/")
        drawn, left_out = parts_named(given.drawn), parts_named(given.left_out)
        taken = [p for p in parts_named(have) if p not in drawn and p not in left_out]
        origin: dict[str, Any] = {
            "checkpoint": given.source, "taken": taken, "drawn": list(drawn),
            "left_out": list(left_out),
        }  # fmt: skip
        if self.report is not None:
            origin["vocabulary"] = {
                "before": given.tokenizer.vocab_size,
                "after": self.config.vocab_size,
                "copied": len(self.report.copied),
                "composed": len(self.report.composed),
                "not_spelled": len(self.report.unspellable),
                "dropped": len(self.report.dropped),
            }
        return origin

    def write_move(self, workdir: Path) -> None:
        """Write what became of every piece to `vocabulary_move.json`, where the model was moved."""
        if self.report is not None:
            write_json(workdir / MOVE, {"from": self.given.source, **self.report.to_json()})


def _first_documents(text: Documents) -> Iterator[np.ndarray]:
    """The pieces of whole documents, one after the other, until there are enough of them."""
    read, enough = 0, min(text.num_pieces, _PIECES_READ)
    with ProgressBar("learning how pieces are used", enough) as bar:
        for index in range(text.num_documents):
            if read >= enough:
                return
            yield (pieces := text.pieces_of(index))
            read += len(pieces)
            bar.update(min(read, enough))


def given_model(
    settings: PretrainingSettings, parts: Parts, workdir: Path, built: Corpus | None
) -> GivenModel | None:
    """Read the model that a run starts from, and refuse one that does not go with its settings.

    Args:
        settings: of the run.
        parts: how its model makes the three parts of the input representation.
        workdir: of the run; where it has a checkpoint, the model is not needed any more.
        built: the run's corpus, where it was built before.

    Returns:
        None where the run starts from none.

    Raises:
        UserError: there is no such model, it has no vocabulary, weights that are not finite, or
            something that contradicts the settings or the corpus.
    """
    source = settings.init_checkpoint
    if source is None:
        return None
    if own := told_by_first("newest checkpoint", lambda: _of_checkpoint(workdir, settings)):
        config = BertConfig.from_dict(own["config"], own["path"])
        tokenizer = tokenizer_from_record(own["vocabulary"], own["path"])
        return GivenModel(source, settings.config_from(config), None, tokenizer, tokenizer)
    model = load_pretrained(source, splitting=settings.splitting)
    place = find_ours(checkpoint_at_hand(source).expanduser())
    config = settings.config_from(model.config)
    tokenizer = _own_vocabulary(source, model, settings)
    tokenizer.splitting.normalisation(settings.lowercase)  # cut text is not lower-cased
    vocabulary = _vocabulary(source, tokenizer, settings, built)
    params = _with_decoder(model.params, config)
    objective = OBJECTIVES[settings.objective]
    _, shapes = abstract_params(lambda: objective.model(config, nnx.Rngs(0), parts=parts))
    have, wanted = (flatten_dict(tree, sep="/") for tree in (params, shapes))
    drawn = missing_weights(have, wanted, objective.model)
    left_out = tuple(name for name in have if name not in wanted)
    return GivenModel(
        as_given(place or str(model.origin)),
        config,
        params,
        tokenizer,
        vocabulary,
        drawn,
        left_out,
        model.notes,
    )


def _of_checkpoint(workdir: Path, settings: PretrainingSettings) -> dict[str, Any]:
    """Path, configuration and vocabulary of what the run goes on from; nothing where it begins."""
    branch = checkpoint_at_hand(settings.branch_from) if settings.branch_from else None
    if (path := find_ours(workdir) or branch) is None:
        return {}
    return {"path": str(path), **{name: load_json(path, name) for name in ("config", "vocabulary")}}


def _own_vocabulary(source: str, model: Pretrained, settings: PretrainingSettings) -> Tokenizer:
    """The model's vocabulary: inside, or else the one that is given."""
    if model.tokenizer is not None:
        return model.tokenizer
    if settings.vocab is None:
        raise UserError(
            f"got init_checkpoint={source}, which has no vocabulary"
            f" ({'; '.join(note for note in model.notes if 'tokenizer' in note)}); expected"
            " vocab=FILE with it, the one it was trained with"
        )
    tokenizer = Tokenizer.from_file(
        settings.vocab, settings.lowercase, splitting=settings.splitting
    )
    if tokenizer.vocab_size != model.config.vocab_size:
        raise UserError(
            f"got vocab={settings.vocab} of {tokenizer.vocab_size} pieces for"
            f" init_checkpoint={source}, which has {model.config.vocab_size} rows and no vocabulary"
            " of its own; expected the one it was trained with"
        )
    return tokenizer


def _vocabulary(
    source: str, own: Tokenizer, settings: PretrainingSettings, built: Corpus | None
) -> Tokenizer | None:
    """The run's vocabulary; None where it is to be learned."""
    lowercase = own.lowercase if settings.lowercase is None else settings.lowercase
    if settings.vocab_size is not None:
        if built is not None:
            raise UserError(
                f"got vocab_size={settings.vocab_size} for the corpus in {built.data_dir}, which"
                f" has a vocabulary; expected vocab={built.data_dir}/vocab.txt, to move the model"
                " to it"
            )
        return None
    if settings.vocab is not None:
        wanted = Tokenizer.from_file(
            settings.vocab, settings.lowercase, splitting=own.splitting, like=own
        )
        if built is not None and built.vocab_hash == wanted.vocab_hash:
            return built.tokenizer
    else:
        if lowercase != own.lowercase:
            raise UserError(
                f"got lowercase={settings.lowercase}, but the vocabulary of"
                f" init_checkpoint={source} has lowercase={own.lowercase}; expected the same, or no"
                " `lowercase`"
            )
        wanted = own
        if settings.add_tokens is not None:
            wanted = with_added_pieces(own, _pieces_in(settings.add_tokens))
    if built is None:
        return wanted
    same = (built.vocab_hash, built.tokenizer.added) == (wanted.vocab_hash, wanted.added)
    if not same or normalisation(built.tokenizer) != normalisation(wanted):
        raise UserError(
            f"got the corpus in {built.data_dir}, which was built with a different vocabulary from"
            f" that of init_checkpoint={source}; expected a corpus built with it, or"
            f" vocab={built.data_dir}/vocab.txt, to move the model to the corpus's"
        )
    return wanted


def _pieces_in(path: str) -> list[str]:
    """The pieces of a file, one a line."""
    try:
        text = at_hand(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"got add_tokens={path}, which cannot be read ({error}); expected a text file with one"
            " piece per line"
        ) from None
    pieces = text.removesuffix("\n").split("\n")
    for number, piece in enumerate(pieces, 1):
        if not piece.strip():
            what = "nothing in it" if not text.strip() else f"a blank line {number}"
            raise UserError(f"got add_tokens={path} with {what}; expected one piece per line")
    return pieces


def _with_decoder(params: Parameters, config: BertConfig) -> Parameters:
    """A decoder of its own for a model that is to have one: a copy, which computes the same."""
    if config.tie_word_embeddings or "decoder" in params.get("mlm", {}):
        return params
    table = params["bert"]["embeddings"].get("token", {}).get("table")
    if table is None:
        return params
    return {**params, "mlm": {**params.get("mlm", {}), "decoder": np.array(table)}}


def write_start(workdir: Path, origin: Mapping[str, Any], figures: Mapping[str, float]) -> None:
    """Write down what a run started from and its held-out figures before the first step."""
    started = {
        f"heldout_start_{name}": figures[f"heldout_{name}"]
        for name in ("mlm_loss", "nsp_accuracy")
        if f"heldout_{name}" in figures
    }
    write_sealed(workdir / START, {"initialised_from": dict(origin), **started})


def copy_start(checkpoint: Path, workdir: Path) -> None:
    """Take over what the run began with of which `checkpoint` is one."""
    if started := read_start(checkpoint.parent.parent):
        write_sealed(workdir / START, started)


def read_start(workdir: Path) -> dict[str, Any]:
    """What `write_start` wrote; nothing where it did not."""
    file = workdir / START
    return read_sealed(file, "take a copy, or another workdir") if file.is_file() else {}
