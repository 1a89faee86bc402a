"""What the files of a Hugging Face tokenizer say: pieces, how text is treated, added tokens.

    vocab.txt                 the pieces, one a line
    tokenizer.json            everything, as its library wrote it
    tokenizer_config.json     the class, and what it was made with
    special_tokens_map.json   names of special tokens
    added_tokens.json         added tokens and their rows, as versions 2 to 4 wrote them

They overlap, and do not always agree. What wins here is what wins in transformers 5:

1. The pieces are those of `tokenizer.json`, else those of `vocab.txt`.
2. A tokenizer of BERT's class treats text as `tokenizer_config.json` says. What that does not say
   is taken from `tokenizer.json`; transformers lower-cases then. A tokenizer of the library's class
   treats text as `tokenizer.json` says.
3. A token is added if any of the files adds it.

What is not obeyed is refused, or said in a note, with the file and the key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from bert_jax.errors import UserError
from bert_jax.json_reading import Kinds, check_members, read_json_object, shortened
from bert_jax.text.added_tokens import AddedToken
from bert_jax.text.splitting import LONGEST_WORD, WORDS, Spaces, Splitting, splitting_of
from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer
from bert_jax.text.vocab_file import read_vocab, recorded_treatment, without_blanks

SPECIAL_NAMES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")

# Classes, without "Fast" at their end, that treat text as BERT does.
_BERTS = (
    "BertTokenizer", "ConvBertTokenizer", "DistilBertTokenizer", "DPRContextEncoderTokenizer",
    "DPRQuestionEncoderTokenizer", "ElectraTokenizer", "LayoutLMTokenizer", "LxmertTokenizer",
    "MobileBertTokenizer", "RetriBertTokenizer", "SplinterTokenizer", "SqueezeBertTokenizer",
)  # fmt: skip
_LIBRARY = ("PreTrainedTokenizer", "TokenizersBackend")
_JAPANESE = "BertJapaneseTokenizer"
# What tokenizer_config.json calls what tokenizer.json's normalizer calls otherwise; BERT's default.
_TREATMENT = {
    "lowercase": ("do_lower_case", True),
    "strip_accents": ("strip_accents", None),
    "split_chinese": ("tokenize_chinese_chars", True),
}
_IN_LIBRARY = {"split_chinese": "handle_chinese_chars"}
_MOST_ABSENT = 10_000  # rows between the last piece and an added token


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of one tokenizer, read; {} or None for those that are not there.

    `learned` is how the text of a vocabulary was treated that was learned here.
    """

    folder: Path
    vocab: tuple[str, ...] | None
    library: dict[str, Any] | None
    settings: dict[str, Any]
    special_map: dict[str, Any]
    added: dict[str, Any]
    learned: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def class_name(self) -> str:
        """The tokenizer's class, without "Fast"; BERT's where nothing says it."""
        return str(self.settings.get("tokenizer_class") or _BERTS[0]).removesuffix("Fast")


def files_of(path: Path) -> Files:
    """Read a tokenizer's directory, or one file of it: a `tokenizer.json` says everything alone.

    Raises:
        UserError: there is no vocabulary, or a file that cannot be read.
    """
    if path.suffix == ".json":
        # It was asked for as the library reads it: its class is the library's.
        return Files(path.parent, None, _read(path), {"tokenizer_class": _LIBRARY[0]}, {}, {})
    folder = path if path.is_dir() else path.parent
    library, vocab = folder / "tokenizer.json", path if path != folder else folder / "vocab.txt"
    has_library = path == folder and library.is_file()
    if not has_library and path == folder and not vocab.is_file():
        raise UserError(
            f"got {folder}, which has no vocabulary; expected a vocab.txt or tokenizer.json in it"
        )
    others = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    found = [folder / name for name in others]
    settings, special_map, added = (_read(f) if f.is_file() else {} for f in found)
    return Files(
        folder,
        None if has_library else read_vocab(vocab),
        _read(library) if has_library else None,
        settings,
        special_map,
        added,
        {} if has_library else recorded_treatment(vocab),
    )


def _read(path: Path) -> dict[str, Any]:
    """A file's content, whose members are of the types that are wanted."""
    content = read_json_object(path)
    check_members(content, _KINDS.get(path.name, _KINDS["tokenizer.json"]), path)
    return content


_SPECIAL: dict[str, Kinds] = {
    "extra_special_tokens": (list, dict), "additional_special_tokens": list,
}  # fmt: skip
_KINDS: dict[str, dict[str, Kinds]] = {
    "tokenizer.json": {
        "model": dict, "model.type": str, "model.vocab": dict, "model.unk_token": str,
        "model.continuing_subword_prefix": str, "model.max_input_chars_per_word": int,
        "normalizer": dict, "normalizer.type": str, "normalizer.clean_text": bool,
        "normalizer.handle_chinese_chars": bool, "normalizer.strip_accents": bool,
        "normalizer.lowercase": bool, "pre_tokenizer": dict, "pre_tokenizer.type": str,
        "pre_tokenizer.pattern": dict, "pre_tokenizer.pattern.Regex": str,
        "pre_tokenizer.behavior": str, "pre_tokenizer.invert": bool, "post_processor": dict,
        "post_processor.type": str, "added_tokens": list,
    },
    "tokenizer_config.json": {
        "tokenizer_class": str, "do_lower_case": bool, "strip_accents": bool,
        "tokenize_chinese_chars": bool, "do_basic_tokenize": bool, "added_tokens_decoder": dict,
        "word_tokenizer_type": str, "subword_tokenizer_type": str, **_SPECIAL,
    },
    "special_tokens_map.json": _SPECIAL,
    "added_tokens.json": {},
}  # fmt: skip


def tokenizer_of(files: Files, splitting: str | Splitting | None) -> tuple[Tokenizer, list[str]]:
    """The tokenizer that the files describe, and notes on what was guessed or is not obeyed.

    Args:
        files: from `files_of`.
        splitting: how text is split, where the files do not say; None for words.

    Raises:
        UserError: it is no tokenizer of a BERT.
    """
    given = splitting or files.learned.get("splitting")
    given = None if given is None else splitting_of(given)
    _check_special_names(files)
    notes: list[str] = []
    if (own := _cut_text(files)) is not None:
        if given not in (None, own):
            raise UserError(
                f"got splitting={given.name!r} for {files.folder}, whose tokenizer.json says"
                f" {own.name!r}; expected the same, or no `splitting`"
            )
        how: dict[str, Any] = {"splitting": own}
    elif given is None or given == WORDS:
        how = _words(files, notes, known=given is not None)
    else:
        how = {"splitting": given}
    ids = _ids(files)
    added, rows = _added(files, ids)
    pieces = _rows(files, {**ids, **rows})
    return Tokenizer(pieces, **how, added=added), notes


def _ids(files: Files) -> dict[str, int]:
    """The pieces words are cut into, and their rows."""
    if files.library is None:
        return {piece: i for i, piece in enumerate(without_blanks(files.vocab or ()))}
    ids = (files.library.get("model") or {}).get("vocab")
    path = files.folder / "tokenizer.json"
    if not ids:
        raise UserError(
            f"got {path} without model.vocab; expected pieces with their rows, as BERT has"
        )
    for piece, row in ids.items():
        if type(row) is not int or not 0 <= row < len(ids) + _MOST_ABSENT:
            raise UserError(f"got the piece {piece!r} in row {row!r} of {path}; expected 0, 1, …")
    return ids


def _words(files: Files, notes: list[str], known: bool) -> dict[str, Any]:
    """How words are normalised; refuses what is not BERT's and notes what is not obeyed."""
    if not known:
        _check_class(files, notes)
    normalizer = {} if files.library is None else _check_library(files, notes)
    obeys_settings = files.class_name in (*_BERTS, _JAPANESE)
    how = {}
    for name, (key, default) in _TREATMENT.items():
        in_library = _IN_LIBRARY.get(name, name)
        how[name] = normalizer.get(in_library, default)
        if not obeys_settings:
            continue
        if key not in files.settings:
            if how[name] != default:
                notes.append(
                    f"{in_library}={how[name]} of tokenizer.json is obeyed; transformers takes"
                    f" {key}={default}, since tokenizer_config.json does not say"
                )
            continue
        how[name], other = files.settings[key], how[name]
        if files.library is not None and how[name] != other:
            notes.append(
                f"{key}={how[name]} of tokenizer_config.json is obeyed, as in transformers, and not"
                f" {in_library}={other} of tokenizer.json"
            )
    if files.library is None and files.learned:
        how |= {name: value for name, value in files.learned.items() if name in _TREATMENT}
    elif files.library is None and "do_lower_case" not in files.settings:
        how["lowercase"] = not (cased := _looks_cased(files.vocab or ()))
        guess = "cased" if cased else "uncased"
        notes.append(f"nothing says whether the vocabulary is cased; by its pieces it is {guess}")
    return {**how, "lowercase": bool(how["lowercase"]), "split_chinese": bool(how["split_chinese"])}


def _looks_cased(pieces: tuple[str, ...]) -> bool:
    return any(
        piece != piece.lower()
        for piece in pieces
        if not (piece.startswith("[") and piece.endswith("]"))
    )


def _check_class(files: Files, notes: list[str]) -> None:
    name, where = files.class_name, files.folder / "tokenizer_config.json"
    if name == _JAPANESE and files.settings.get("word_tokenizer_type", "basic") != "basic":
        raise UserError(
            f"got tokenizer_class={name!r} with word_tokenizer_type="
            f"{files.settings['word_tokenizer_type']!r} in {where}, which finds words with another"
            " program; expected text split by it beforehand, with spaces between words, and a"
            " tokenizer_class BertTokenizer with do_lower_case and tokenize_chinese_chars false"
        )
    if name == _JAPANESE and files.settings.get("subword_tokenizer_type") == "character":
        raise UserError(
            f"got subword_tokenizer_type='character' in {where}; expected 'wordpiece': say"
            r" splitting=\S, by which every character is a piece"
        )
    if name in (*_BERTS, *_LIBRARY, _JAPANESE):
        if not files.settings.get("do_basic_tokenize", True):
            notes.append("do_basic_tokenize=False of tokenizer_config.json is not obeyed")
    elif files.library is None:
        raise UserError(
            f"got tokenizer_class={name!r} in {where}, which bert_jax does not know; expected"
            " BertTokenizer, or to be told how text is split: splitting=words, spaces or a regular"
            " expression"
        )


def _check_library(files: Files, notes: list[str]) -> dict[str, Any]:
    """Check that a `tokenizer.json` is that of a BERT; return its normalizer."""
    content, path = files.library or {}, files.folder / "tokenizer.json"
    model, normalizer = content.get("model") or {}, content.get("normalizer") or {}
    kinds = {
        "model": (model.get("type", "WordPiece"), "WordPiece"),
        "normalizer": (normalizer.get("type"), "BertNormalizer"),
        "pre_tokenizer": ((content.get("pre_tokenizer") or {}).get("type"), "BertPreTokenizer"),
    }
    for part, (got, expected) in kinds.items():
        if got != expected:
            raise UserError(f"got {path} with {part} {got}; expected {expected}, as BERT has")
    prefix = model.get("continuing_subword_prefix", "##")
    if prefix != "##" or model.get("unk_token", "[UNK]") != "[UNK]":
        raise UserError(
            f"got {path}, whose pieces continue a word with {prefix!r} and whose unknown piece is "
            f"{model.get('unk_token')!r}; expected '##' and '[UNK]'"
        )
    if not normalizer.get("clean_text", True):
        notes.append(
            "normalizer.clean_text=False of tokenizer.json is not obeyed: control characters are"
            " left out"
        )
    longest = model.get("max_input_chars_per_word", LONGEST_WORD)
    if longest != LONGEST_WORD:
        notes.append(
            f"model.max_input_chars_per_word={longest} of tokenizer.json is not obeyed: a word of"
            f" more than {LONGEST_WORD} characters is [UNK]"
        )
    if files.class_name in _LIBRARY and not _frames_as_bert(content.get("post_processor")):
        notes.append(
            "post_processor of tokenizer.json is not obeyed: texts are framed as"
            " [CLS] A [SEP] and [CLS] A [SEP] B [SEP]"
        )
    return normalizer


def _frames_as_bert(processor: dict[str, Any] | None) -> bool:
    def template(parts: Any) -> list[tuple[str, int]]:
        try:
            return [(part["id"], part["type_id"]) for each in parts for part in each.values()]
        except (AttributeError, KeyError, TypeError):
            return []  # no template at all

    if processor is None or processor.get("type") != "TemplateProcessing":
        return processor is not None and processor.get("type") == "BertProcessing"
    single = [("[CLS]", 0), ("A", 0), ("[SEP]", 0)]
    pair = [*single, ("B", 1), ("[SEP]", 1)]
    return template(processor.get("single")) == single and template(processor.get("pair")) == pair


def _check_special_names(files: Files) -> None:
    for name, expected in zip(SPECIAL_NAMES, SPECIAL_PIECES, strict=True):
        for content, file in (
            (files.settings, "tokenizer_config.json"),
            (files.special_map, "special_tokens_map.json"),
        ):
            got = _spelling(content.get(name))
            if got not in (None, expected):
                raise UserError(
                    f"got {name}={got!r} in {files.folder / file}; expected {expected!r}, as BERT"
                    " has: rename the piece in all files of the tokenizer"
                )


def _cut_text(files: Files) -> Splitting | None:
    """The splitting of a `tokenizer.json` for text that is already split; None for words."""
    content = files.library or {}
    if (content.get("model") or {}).get("type") != "WordLevel":
        return None
    path = files.folder / "tokenizer.json"
    if content.get("normalizer") is not None:
        raise UserError(
            f"got {path} with model WordLevel and normalizer {content['normalizer'].get('type')};"
            " expected none, for text that is already split"
        )
    how = content.get("pre_tokenizer") or {}
    if how.get("type") == "WhitespaceSplit":
        return Spaces()
    pattern = (how.get("pattern") or {}).get("Regex")
    if pattern and how.get("behavior") == "Removed" and how.get("invert"):
        return splitting_of(pattern)
    raise UserError(
        f"got {path} with model WordLevel and pre_tokenizer {how.get('type')}; expected"
        " WhitespaceSplit, or Split of which the matches of a Regex remain (Removed, inverted)"
    )


# Added tokens.


def _added(files: Files, ids: Mapping[str, int]) -> tuple[tuple[AddedToken, ...], dict[str, int]]:
    """The added tokens, and the rows of those that are no pieces."""
    found: dict[str, tuple[AddedToken, int | None, str]] = {}
    for token, row, file in _listed(files):
        if token.content and token.content not in SPECIAL_PIECES:
            found.setdefault(token.content, (token, row, file))
    rows: dict[str, int] = {}
    taken = {i: piece for piece, i in ids.items()}
    first = max(taken, default=-1) + 1
    tokens = []
    # Those whose row is given keep it; the others get the rows behind all of them.
    for token, row, file in sorted(found.values(), key=lambda x: (x[1] is None, x[1] or 0)):
        if token.content in ids:
            tokens.append(dataclasses.replace(token, is_piece=True))
            continue
        row = max(first, *(r + 1 for r in rows.values()), 0) if row is None else row
        if row in taken or not first <= row <= first + len(rows) + _MOST_ABSENT:
            raise UserError(
                f"got the added token {token.content!r} with id {row} in {files.folder / file};"
                f" expected {first}, the row after the last piece, or more"
                + (f": that row is {taken[row]!r}" if row in taken else "")
            )
        taken[row] = token.content
        rows[token.content] = row
        tokens.append(token)
    return tuple(tokens), rows


def _listed(files: Files) -> Iterator[tuple[AddedToken, int | None, str]]:
    """Every added token with its row, where it is given, and the file that says so."""
    config, special_map = "tokenizer_config.json", "special_tokens_map.json"
    specials = [
        (_token(value, special=True), None, file)
        for content, file in ((files.settings, config), (files.special_map, special_map))
        for value in _special_values(content)
    ]
    names = {token.content for token, _, _ in specials}
    for row, value in (files.settings.get("added_tokens_decoder") or {}).items():
        number = _row(files, config, value, row)
        yield _token(value), number, config
    for content, row in files.added.items():
        file, number = "added_tokens.json", _row(files, "added_tokens.json", content, row)
        yield _token(content, special=content in names), number, file
    for value in (files.library or {}).get("added_tokens") or ():
        file, row = "tokenizer.json", value.get("id") if isinstance(value, dict) else None
        number = _row(files, file, value, row)
        yield _token(value), number, file
    yield from specials


def _row(files: Files, file: str, value: Any, row: Any) -> int:
    """The row that a file gives an added token.

    Raises:
        UserError: it is no number, or the token has no spelling.
    """
    if _spelling(value) is None or isinstance(row, bool) or not str(row).isdecimal():
        shown = " ".join(repr(value).split())[:60]
        raise UserError(
            f"got the added token {shown} with id {row!r} in {files.folder / file}; expected its"
            " spelling and the number of its row"
        )
    return int(row)


def _special_values(content: Mapping[str, Any]) -> Iterator[Any]:
    for key, value in content.items():
        if key.endswith("_token") and _spelling(value) is not None:
            yield value
    for key in ("extra_special_tokens", "additional_special_tokens"):
        more = content.get(key) or ()
        yield from more.values() if isinstance(more, dict) else more


def _spelling(value: Any) -> str | None:
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else None


def _token(value: Any, special: bool = False) -> AddedToken:
    """A token from how a file describes it; the defaults are the library's."""
    content = value if isinstance(value, dict) else {"content": value}
    special = bool(content.get("special", special))
    values = {"normalized": not special, **content, "special": special}
    names = {field.name for field in dataclasses.fields(AddedToken)} - {"is_piece"}
    if not isinstance(content.get("content"), str):
        shown = shortened(repr(value))
        raise UserError(f"got the added token {shown}; expected its spelling, or an object with it")
    for name in names & values.keys() - {"content"}:
        if not isinstance(values[name], bool):
            raise UserError(
                f"got {name}={values[name]!r} of the added token {content.get('content')!r};"
                " expected true or false"
            )
    return AddedToken(**{name: values[name] for name in names if name in values})


def _rows(files: Files, ids: Mapping[str, int]) -> list[str]:
    """The pieces by their rows; rows between the last piece and an added token get a name."""
    pieces = {i: piece for piece, i in ids.items()}
    last_piece = max(_ids(files).values(), default=-1)
    absent = next((i for i in range(last_piece) if i not in pieces), None)
    if absent is not None:
        raise UserError(
            f"got {files.folder / 'tokenizer.json'}, whose ids have gaps, as at {absent}; expected"
            f" 0 to {max(pieces)}"
        )
    names = (name for i in count() if (name := f"[unused{i}]") not in ids)
    return [pieces[i] if i in pieces else next(names) for i in range(max(pieces, default=-1) + 1)]
