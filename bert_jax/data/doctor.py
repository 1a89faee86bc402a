"""The corpus doctor: what is in a corpus, and what is wrong with it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import numpy as np

from bert_jax.data.seen import DuplicateCounter
from bert_jax.data.tokenised import DocumentHead
from bert_jax.errors import UserError

REPORT_LENGTHS = (128, 512)


@dataclass(frozen=True)
class SplitReport:
    """What one split holds."""

    documents: int
    sentences: int
    pieces: int
    unk_rate: float


@dataclass(frozen=True)
class CorpusReport:
    """What the doctor saw. Counts of what is in the corpus, then of what came in.

    Attributes:
        documents, sentences, pieces: in the corpus, both splits together.
        unk_rate: share of the pieces that are [UNK].
        one_sentence_documents: documents that can give no pair of sentences of their own.
        longest_sentence: in pieces.
        duplicates: documents whose text had come before.
        duplicate_lines: lines (paragraphs, in hard-wrapped text) that had come before.
        duplicate_lines_exact: False where that is an estimate (more than two million lines).
        dropped_documents, dropped_lines: of those, how many were left out on request.
        empty_documents: documents without a single piece; left out.
        characters: of all text that came in.
        bad_utf8_bytes, bad_utf8_documents: how often bytes were not valid UTF-8, and in how many
            documents.
        expected_instances: for a length in pieces, about how many NSP instances one epoch over
            the train split gives.
        disk_bytes: of everything under the corpus' folder.
        seconds: to build it.
        splits: the same counts for "train" and "heldout".
        by_passages: whether passages are held out, for want of documents; each is one, and so is
            what is left between two.
        json_documents, tagged_documents: documents that came in with JSON objects or tags in them.
        remarks: a line for everything that deserves one (`remarks.py`), with the way out.
    """

    documents: int
    sentences: int
    pieces: int
    unk_rate: float
    one_sentence_documents: int
    longest_sentence: int
    duplicates: int
    duplicate_lines: int
    duplicate_lines_exact: bool
    dropped_documents: int
    dropped_lines: int
    empty_documents: int
    characters: int
    bad_utf8_bytes: int
    bad_utf8_documents: int
    expected_instances: dict[int, int]
    disk_bytes: int
    seconds: float
    splits: dict[str, SplitReport]
    by_passages: bool = False
    json_documents: int = 0
    tagged_documents: int = 0
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "CorpusReport":
        """Make a report from what `to_json` gave, or JSON made of it."""
        instances = {int(length): n for length, n in content["expected_instances"].items()}
        splits = {name: SplitReport(**split) for name, split in content["splits"].items()}
        return cls(
            **{
                **content,
                "expected_instances": instances,
                "splits": splits,
                "remarks": tuple(content.get("remarks", ())),
            }
        )

    def rows(self) -> dict[str, str]:
        """Return the report as a table for people: name → value, with the remarks it calls for."""
        about = "" if self.duplicate_lines_exact else "about "
        rows = {
            "documents": f"{self.documents:,}",
            "sentences": f"{self.sentences:,} "
            f"({_ratio(self.sentences, self.documents)} a document)",
            "pieces": f"{self.pieces:,} ({_ratio(self.pieces, self.sentences)} a sentence, "
            f"{_ratio(self.characters, self.pieces)} characters a piece)",
            "[UNK]": f"{self.unk_rate:.4%} of the pieces",
            "longest sentence": f"{self.longest_sentence:,} pieces",
            "one-sentence documents": f"{self.one_sentence_documents:,}",
            "duplicate documents": f"{self.duplicates:,}, {self.dropped_documents:,} dropped",
            "duplicate lines": f"{about}{self.duplicate_lines:,}, {self.dropped_lines:,} dropped",
            "empty documents": f"{self.empty_documents:,}, dropped",
            "bad UTF-8": f"at {self.bad_utf8_bytes:,} places, "
            f"in {self.bad_utf8_documents:,} documents",
        }
        for name, split in self.splits.items():
            unit = "passages" if self.by_passages else "documents"
            rows[name] = f"{split.documents:,} {unit}, {split.pieces:,} pieces"
        for length, instances in self.expected_instances.items():
            rows[f"instances at {length}"] = f"about {instances:,} an epoch"
        for number, remark in enumerate(self.remarks, 1):
            rows[f"remark {number}"] = remark
        rows["disk"] = f"{self.disk_bytes / 1e6:,.1f} MB"
        rows["time"] = f"{self.seconds:,.1f} s"
        return rows


def _ratio(count: int, of: int) -> str:
    return f"{count / of:.1f}" if of else "-"


@dataclass
class _Counts:
    documents: int = 0
    sentences: int = 0
    pieces: int = 0
    unknown: int = 0

    def report(self) -> SplitReport:
        rate = self.unknown / max(1, self.pieces)
        return SplitReport(self.documents, self.sentences, self.pieces, rate)


@dataclass
class Doctor:
    """Sees every document once while a corpus is built, in 32 MB and what the splits need."""

    lines: DuplicateCounter = field(default_factory=DuplicateCounter)
    duplicates: int = 0
    dropped_documents: int = 0
    dropped_lines: int = 0
    empty_documents: int = 0
    one_sentence_documents: int = 0
    longest_sentence: int = 0
    characters: int = 0
    bad_utf8_bytes: int = 0
    bad_utf8_documents: int = 0
    json_documents: int = 0
    tagged_documents: int = 0
    by_passages: bool = False
    splits: dict[str, _Counts] = field(init=False)
    instances: dict[int, float] = field(init=False)

    def __post_init__(self) -> None:
        self.forget_kept()

    def forget_kept(self) -> None:
        """Begin anew to count what goes into the splits."""
        self.splits = {"train": _Counts(), "heldout": _Counts()}
        self.instances = dict.fromkeys(REPORT_LENGTHS, 0.0)
        self.one_sentence_documents = self.longest_sentence = 0

    def see_lines(self, hashes: np.ndarray) -> None:
        """Count the lines of any number of documents by their hashes, uint64 [l]."""
        self.lines.add(hashes)

    def see_input(self, document: DocumentHead) -> None:
        """Count a document as it came in, but for its lines."""
        self.characters += document.characters
        self.bad_utf8_bytes += document.bad_bytes
        self.bad_utf8_documents += document.bad_bytes > 0
        self.json_documents += document.has_json
        self.tagged_documents += document.has_tags

    def see_kept(self, split: str, lengths: np.ndarray, unknown: int) -> None:
        """Count a document as it goes into a split, by the pieces of its sentences, int [s]."""
        counts = self.splits[split]
        counts.documents += 1
        counts.sentences += len(lengths)
        counts.pieces += (pieces := int(lengths.sum()))
        counts.unknown += unknown
        self.one_sentence_documents += len(lengths) == 1
        self.longest_sentence = max(self.longest_sentence, int(lengths.max()))
        for length in self.instances if split == "train" else ():
            self.instances[length] += expected_instances(pieces, len(lengths), length)

    @property
    def saw_too_few(self) -> bool:
        """Whether a side has fewer documents than the two that next-sentence pairs need."""
        counts = [split.documents for split in self.splits.values()]
        return sum(counts) > 0 and min(counts) < 2

    def check_enough(self, heldout_fraction: float) -> None:
        """Raise a `UserError` where a split that there should be is empty."""
        counts = [split.documents for split in self.splits.values()]
        documents = sum(counts)
        if not documents:
            raise UserError("got no text: every document is empty; expected documents with words")
        if heldout_fraction and not min(counts):
            raise UserError(
                f"got {documents} document{'s' if documents > 1 else ''}, all in one split; "
                "expected at least two different ones, or more sentences, to train on and to hold "
                "out; if the input holds many in one file, say how they are separated (blocks, "
                "sentences or jsonl)"
            )

    def report(self, disk_bytes: int, seconds: float) -> CorpusReport:
        """Return what was seen."""
        splits = self.splits.values()
        pieces = sum(split.pieces for split in splits)
        return CorpusReport(
            documents=sum(split.documents for split in splits),
            sentences=sum(split.sentences for split in splits),
            pieces=pieces,
            unk_rate=sum(split.unknown for split in splits) / max(1, pieces),
            one_sentence_documents=self.one_sentence_documents,
            longest_sentence=self.longest_sentence,
            duplicates=self.duplicates,
            duplicate_lines=self.lines.duplicates,
            duplicate_lines_exact=self.lines.exact,
            dropped_documents=self.dropped_documents,
            dropped_lines=self.dropped_lines,
            empty_documents=self.empty_documents,
            characters=self.characters,
            bad_utf8_bytes=self.bad_utf8_bytes,
            bad_utf8_documents=self.bad_utf8_documents,
            expected_instances={length: round(n) for length, n in self.instances.items()},
            disk_bytes=disk_bytes,
            seconds=seconds,
            splits={name: split.report() for name, split in self.splits.items()},
            by_passages=self.by_passages,
            json_documents=self.json_documents,
            tagged_documents=self.tagged_documents,
        )


def expected_instances(pieces: int, sentences: int, length: int) -> float:
    """About how many NSP instances of `length` positions a document gives in one epoch.

    An instance takes k sentences, enough for `length` - 3 pieces (a tenth of the instances aim for
    a random shorter length). Half of the instances use them all; half take their second part from
    elsewhere and give back what they do not use, about k/2. What is left at the document's end
    gives a few short ones. Within an eighth of what `instances.plan_instances` makes of novels,
    Wikipedia articles, country pages and dictionary entries, at 128 and at 512.
    """
    target = (length - 3) * 0.95
    taken = min(float(sentences), target * sentences / pieces + 0.5)
    return _instances_of_the_end(round(taken)) + (sentences - taken) / (0.75 * taken)


@cache
def _instances_of_the_end(sentences: int) -> float:
    # E(s) = 1 + ½ mean(E(1) … E(s - 1)): one instance, then in half the cases what it gave back.
    total = 0.0
    expected = 1.0
    for s in range(1, sentences):
        total += expected
        expected = 1 + 0.5 * total / s
    return expected
