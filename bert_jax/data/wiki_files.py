"""What WikiExtractor makes of a Wikipedia: articles between <doc …> and </doc>."""

import html
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bert_jax.data.document import LONGEST_DOCUMENT, Document, decode
from bert_jax.errors import UserError

MARK = b"<doc id="


def read_wiki(stream: BinaryIO, path: Path) -> Iterator[Document]:
    """Yield an article a document, its title the first paragraph, without the tags around it.

        <doc id="13" url="…" title="Tea">
        Tea
                                               ->  path:1  "Tea\\n\\nTea is a drink. It is hot."
        Tea is a drink. It is hot.
        </doc>

    What WikiExtractor wrote as `&lt;` is `<` again. A longer text than a document may be is cut
    between two lines.
    """
    number = size = 0
    article: list[bytes] | None = None

    def finish(lines: list[bytes]) -> Document:
        nonlocal number
        number += 1
        text, bad_bytes = decode(b"".join(lines))
        return Document(f"{path}:{number}", html.unescape(text).strip(), bad_bytes)

    for line_number, line in enumerate(stream, 1):
        begins, ends = line.startswith(MARK), line.strip() == b"</doc>"
        if article is None and not (begins or line.isspace()):
            raise UserError(
                f"{path}, line {line_number}: got text outside of <doc …> and </doc>; expected "
                "what WikiExtractor writes"
            )
        if article and (begins or ends or size > LONGEST_DOCUMENT):
            yield finish(article)
            article = []
        if begins:
            article = []
        elif ends:
            article = None
        elif article is not None:
            size = len(line) + (size if article else 0)
            article.append(line)
    if article:
        yield finish(article)
