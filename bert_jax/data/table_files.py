"""Parquet and Arrow files as documents: one row, one document. Also what `datasets` saves."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from bert_jax.data.document import Document, cut_text, decode
from bert_jax.errors import UserError

_ROWS = 1024


def read_table(path: Path, text_column: str | None) -> Iterator[Document]:
    """Yield the rows of a Parquet or Arrow file; a row without a value is an empty document.

    Args:
        path: the file; which of them it is, is seen from its first bytes.
        text_column: the column that holds the text; None takes "text" or the only column of text.

    Raises:
        UserError: the file cannot be read, or has no such column.
    """
    number = position = 0
    try:
        with ExitStack() as stack:
            schema, batches = _open(path, stack)
            column = _choose_column(path, schema, text_column)
            for batch, read in batches(column):
                values = batch.column(batch.schema.get_field_index(column))
                if pa.types.is_dictionary(values.type):
                    values = values.dictionary_decode()
                # As bytes: a broken character is for `decode` to count.
                values = values.cast(pa.large_binary())
                for value in values:
                    number += 1
                    text, bad_bytes = decode(value.as_py() or b"")
                    for part, piece in enumerate(cut_text(text), 1):
                        name = f"{path}:{number}" + (f"#{part}" if part > 1 else "")
                        yield Document(name, piece, bad_bytes, read - position)
                        bad_bytes, position = 0, read
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"got {str(path)!r}, which cannot be read: {reason}") from error


def _open(path: Path, stack: ExitStack) -> tuple[pa.Schema, Any]:
    """Return a table's schema, and what reads a column of it in (batch, bytes of the file)."""
    file = stack.enter_context(pa.memory_map(str(path)))
    size = file.size()
    mark = file.read(6)
    file.seek(0)
    if mark.startswith(b"PAR1"):
        table = pyarrow.parquet.ParquetFile(file)

        def parquet(column: str) -> Iterator[tuple[pa.RecordBatch, int]]:
            rows = 0
            for batch in table.iter_batches(_ROWS, columns=[column]):
                rows += len(batch)
                yield batch, size * rows // table.metadata.num_rows

        return table.schema_arrow, parquet
    if mark.startswith(b"ARROW1"):
        pages = pa.ipc.open_file(file)
        numbers = range(pages.num_record_batches)
        return pages.schema, lambda column: (
            (pages.get_batch(n), size * (n + 1) // len(numbers)) for n in numbers
        )
    reader = stack.enter_context(pa.ipc.open_stream(file))
    return reader.schema, lambda column: ((batch, file.tell()) for batch in reader)


def _choose_column(path: Path, schema: pa.Schema, column: str | None) -> str:
    texts = [field.name for field in schema if _is_text(field.type)]
    if column is not None and column in texts:
        return column
    if column is None and ("text" in texts or len(texts) == 1):
        return "text" if "text" in texts else texts[0]
    got = f"text column {column!r} for" if column else "no text column for"
    raise UserError(f"got {got} {str(path)!r}; expected `text_column`, one of {sorted(texts)}")


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view
    return any(test(kind) for test in tests)
