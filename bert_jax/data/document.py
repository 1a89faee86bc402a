"""What every source of text yields: the one place where text enters, valid Unicode from here on."""

from collections.abc import Iterator
from dataclasses import dataclass

from bert_jax.text.valid_unicode import valid_unicode

# Bytes. A longer text is cut into several documents, so that memory stays bounded whatever comes
# in: War and Peace (3.2 MB) is one document, a file of 5 GB without a blank line is 640.
LONGEST_DOCUMENT = 8 << 20


@dataclass(frozen=True)
class Document:
    """One document, before it is cut into sentences and pieces.

    Whatever is given, name and text are valid Unicode: a lone surrogate, as JSON may spell
    ("\\ud83d") and a file name may hold, becomes U+FFFD and counts as a bad byte of the text.

    Attributes:
        name: where it came from, for people ("novels/Eliot_Adam_1859.txt", "news.jsonl:17").
        text: running text, whose paragraphs and sentences are still to be found; or a tuple of
            sentences, where the source says what a sentence is.
        bad_bytes: how often the source held no character; there the text has U+FFFD, which BERT
            drops.
        source_bytes: how far the reader came in its input for this document, for progress bars.
    """

    name: str
    text: str | tuple[str, ...]
    bad_bytes: int = 0
    source_bytes: int = 0

    def __post_init__(self) -> None:
        name, _ = valid_unicode(self.name)
        object.__setattr__(self, "name", name)
        bad = 0
        if isinstance(self.text, str):
            text, bad = valid_unicode(self.text)
            object.__setattr__(self, "text", text)
        elif isinstance(self.text, tuple):
            valid = [valid_unicode(sentence) for sentence in self.text]
            object.__setattr__(self, "text", tuple(sentence for sentence, _ in valid))
            bad = sum(lone for _, lone in valid)
        object.__setattr__(self, "bad_bytes", self.bad_bytes + bad)

    @property
    def whole_text(self) -> str:
        """The text in one string, one sentence per line if the source says what a sentence is."""
        return self.text if isinstance(self.text, str) else "\n".join(self.text)


def decode(data: bytes) -> tuple[str, int]:
    """Decode UTF-8, replacing what is none by U+FFFD; return the text and how much was replaced.

    A byte order mark at the start is dropped.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    try:
        return data.decode(), 0
    except UnicodeDecodeError:
        text = data.decode(errors="replace")
        return text, text.count("\ufffd") - data.count(b"\xef\xbf\xbd")


def cut_text(text: str) -> Iterator[str]:
    """Cut a text that is longer than a document may be; the empty text is one piece."""
    for start in range(0, max(1, len(text)), LONGEST_DOCUMENT):
        yield text[start : start + LONGEST_DOCUMENT]
