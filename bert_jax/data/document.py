"""What every source of text yields."""

from dataclasses import dataclass

# Bytes. A longer text is cut into several documents, so that memory stays bounded whatever comes
# in: War and Peace (3.2 MB) is one document, a file of 5 GB without a blank line is 640.
LONGEST_DOCUMENT = 8 << 20


@dataclass(frozen=True)
class Document:
    """One document, before it is cut into sentences and pieces.

    Attributes:
        name: where it came from, for people ("novels/Eliot_Adam_1859.txt", "news.jsonl:17").
        text: running text, whose paragraphs and sentences are still to be found; or a tuple of
            sentences, where the source says what a sentence is.
        bad_bytes: how often the bytes were no UTF-8; there the text has U+FFFD, which BERT drops.
        source_bytes: how far the reader came in its input for this document, for progress bars.
    """

    name: str
    text: str | tuple[str, ...]
    bad_bytes: int = 0
    source_bytes: int = 0

    @property
    def whole_text(self) -> str:
        """The text in one string, a sentence a line where the source says what a sentence is."""
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
