"""What is wrong with a corpus, said in lines, each with the way out: by the doctor's figures."""

import re
from collections import Counter
from collections.abc import Sequence

from bert_jax.data.doctor import CorpusReport, Doctor
from bert_jax.data.document import Document
from bert_jax.data.passages import plan_passages
from bert_jax.data.selection import Selection, select_documents
from bert_jax.data.sources import Source
from bert_jax.data.tokenising import tokenise_all
from bert_jax.errors import UserError
from bert_jax.text.splitting import WORDS, Splitting
from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer

# What a first look reads of a source: enough to see what it is, soon enough to cost nothing.
_CHARACTERS = 1 << 21
_DOCUMENTS = 2000

_CAPITALS = re.compile("[A-ZÀ-ÖØ-Þ]")


def remarks_on(report: CorpusReport, tokenizer: Tokenizer | None) -> tuple[str, ...]:
    """Return a line for everything that deserves one.

    Args:
        report: what the doctor saw, of all documents or of the first.
        tokenizer: what cut them into pieces; None where there is none yet.
    """
    came = report.documents + report.empty_documents + report.dropped_documents
    found: list[str] = []
    if report.tagged_documents > 0.1 * came:
        found.append(
            f"{report.tagged_documents:,} of {came:,} documents hold tags such as </p>, read as if "
            "they were words: expected text without them"
        )
    if report.json_documents > 0.1 * came:
        found.append(
            f"{report.json_documents:,} of {came:,} documents hold JSON objects, read as if they "
            "were prose: expected the format jsonl or json, and `text_column` where the text is "
            "not called text"
        )
    if report.bad_utf8_bytes > 0.001 * report.characters:
        found.append(
            f"{report.bad_utf8_bytes / report.characters:.2%} of the characters are not valid"
            " UTF-8: "
            "perhaps the text is in another encoding; expected UTF-8: convert it with iconv"
        )
    if report.one_sentence_documents > 0.5 * report.documents:
        found.append(
            f"{report.one_sentence_documents:,} of {report.documents:,} documents are one sentence,"
            " which has no next one, so that next-sentence prediction learns little: expected"
            " documents of several; if lines that follow each other belong together, say how"
            " documents are separated (format blocks, sentences or text)"
        )
    if 0 < report.documents < 20 and report.characters > 1_000_000 * report.documents:
        found.append(
            f"{report.documents:,} documents of {report.characters / report.documents / 1e6:,.1f} "
            "million characters each: if a file holds many documents, say how they are separated"
            " (format blocks, sentences or jsonl)"
        )
    if tokenizer is not None:
        found += _remarks_on_vocabulary(report, tokenizer)
    return tuple(found)


def _remarks_on_vocabulary(report: CorpusReport, tokenizer: Tokenizer) -> list[str]:
    found = []
    # Letters alone prove nothing: a vocabulary may have the whole alphabet.
    words = [piece for piece in tokenizer.pieces if piece.isalpha() and len(piece) > 1]
    capitals = sum(bool(_CAPITALS.search(piece)) for piece in words)
    if tokenizer.lowercase and capitals > 0.05 * len(words):
        found.append(
            f"{capitals:,} of the vocabulary's {len(words):,} words have capitals, which no text "
            "reaches, since it is lower-cased: expected lowercase=False with a cased vocabulary"
        )
    if report.unk_rate > 0.05:
        how = tokenizer.splitting
        if how.has_words and not tokenizer.lowercase and not capitals:
            wanted = "text's letters: it has no capitals, say lowercase=True"
        elif how.has_words:
            wanted = "text, or, if it is not text of words, its `splitting`"
        else:
            wanted = f"text, split by {how.name!r}"
        found.append(
            f"{report.unk_rate:.1%} of the pieces are [UNK]: expected a vocabulary of this {wanted}"
        )
    return found


def _remarks_on_splitting(documents: Sequence[Document], splitting: Splitting) -> list[str]:
    texts = [document.whole_text for document in documents]
    lost = "".join(map(splitting.left_out, texts))
    if not lost:
        return []
    of = sum(map(len, texts))
    most = "".join(character for character, _ in Counter(lost).most_common(20))
    return [
        f"{len(lost):,} of the first {of:,} characters match nothing in"
        f" splitting={splitting.name!r} and are left out of the corpus, above all {most}: expected"
        " an expression that matches all that matters"
    ]


def first_look(
    source: Source,
    tokenizer: Tokenizer | None,
    heldout_fraction: float,
    splitting: Splitting = WORDS,
) -> tuple[str, ...]:
    """Look at the first documents of a source, before hours are spent on all of them.

    Args:
        source: what is to become a corpus.
        tokenizer: what will cut it into pieces; None where a vocabulary is still to be learned.
        heldout_fraction: what share of it is to be held out.
        splitting: how its text is split, where there is no tokenizer to say so.

    Returns:
        The remarks on them, and on files that were left out.

    Raises:
        UserError: there is too little text for a corpus, or the vocabulary is not of this text.
    """
    documents: list[Document] = []
    whole, characters = True, 0
    for document in source:
        if characters >= _CHARACTERS or len(documents) >= _DOCUMENTS:
            whole = False
            break
        documents.append(document)
        characters += len(document.whole_text)
    doctor = Doctor()
    # Without a vocabulary every word is a piece, [UNK].
    pieces = tokenise_all(documents, tokenizer or Tokenizer(SPECIAL_PIECES, splitting=splitting))
    kept = list(select_documents(pieces, Selection(heldout_fraction), doctor))
    report = doctor.report(0, 0.0)
    if tokenizer is not None and report.unk_rate > 0.5:
        (*_, why) = _remarks_on_vocabulary(report, tokenizer)
        raise UserError(f"got a vocabulary by which {why}")
    lengths = ((head.sentence_lengths, b"") for _, head in kept)
    if whole and not plan_passages(lengths, heldout_fraction):
        doctor.check_enough(heldout_fraction)
    if tokenizer is not None:
        splitting = tokenizer.splitting
    found = (*remarks_on(report, tokenizer), *_remarks_on_splitting(documents, splitting))
    return (*source.remarks, *found)
