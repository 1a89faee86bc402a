"""Tables of texts and labels: TSV, CSV and JSON lines, by named columns."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_jax.errors import UserError
from bert_jax.tasks.lines import numbered_lines, read_bytes

FORMATS = (".tsv", ".csv", ".jsonl")


@dataclass(frozen=True)
class Table:
    """Rows by column: `columns[name][i]` was read from line `lines[i]` of `source`.

    Values are strings from TSV and CSV, and whatever JSON has from JSON lines.
    """

    source: str
    columns: dict[str, list[Any]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str, argument: str) -> list[Any]:
        """Return a column.

        Args:
            name: of the column.
            argument: by which the user names it, for the error.

        Raises:
            UserError: there is none of this name.
        """
        if name not in self.columns:
            raise UserError(
                f"got {argument}={name}, which {self.source} lacks; expected one of its columns, "
                f"{', '.join(self.columns)} (for a file without a header line, name them by"
                " `columns`)"
            )
        return self.columns[name]

    def texts(self, name: str, argument: str) -> list[str]:
        """Return a column of texts, white space at their ends removed.

        Raises:
            UserError: no such column, or a value that is no text.
        """
        values = self.column(name, argument)
        for value, line in zip(values, self.lines, strict=True):
            if not isinstance(value, str):
                raise UserError(
                    f"{self.source}, line {line}: got {name} = {value!r}; expected a text"
                )
        return [value.strip() for value in values]


def read_table(path: str | Path, columns: Sequence[str] | None = None) -> Table:
    r"""Read a `.tsv`, `.csv` or `.jsonl` file, each also with `.gz` behind it.

    TSV has no quoting: a tab ends a field, a newline ends a row. CSV has the quoting of RFC 4180.
    Empty lines are left out.

    Args:
        path: the file; its name tells its format.
        columns: the names of the columns of a TSV or CSV file without a header line; None reads
            them from its first line. JSON lines carry their names.

    Raises:
        UserError: an unknown format, or a row that does not fit, with the number of its line.
    """
    source = str(path)
    suffix = Path(source.removesuffix(".gz")).suffix
    if suffix not in FORMATS:
        raise UserError(f"got {source}; expected a name that ends in {', '.join(FORMATS)} (or .gz)")
    if suffix == ".jsonl":
        if columns:
            raise UserError(
                f"got columns={','.join(columns)} for {source}; expected none: the lines of a"
                " .jsonl file name their columns"
            )
        return _from_objects(source)
    rows = _csv_rows(source) if suffix == ".csv" else _tsv_rows(source)
    return _from_rows(source, rows, columns)


def table_of_rows(rows: Sequence[Any], columns: Sequence[str]) -> Table:
    """Make a table of mappings, or of tuples whose members are `columns` in turn.

    Raises:
        UserError: a row that does not fit, with its number from 1.
    """
    source = "the examples"
    names = tuple(rows[0]) if isinstance(rows[0], Mapping) else tuple(columns)[: len(rows[0])]
    table = Table(source, {name: [] for name in names}, [])
    for number, row in enumerate(rows, 1):
        fits = isinstance(row, Mapping) or (isinstance(row, tuple) and len(row) == len(names))
        if not fits or (isinstance(row, Mapping) and not row.keys() >= set(names)):
            raise UserError(
                f"{source}, item {number}: got {row!r}; expected a dict with {', '.join(names)}, or"
                " a tuple of these"
            )
        values = [row[name] for name in names] if isinstance(row, Mapping) else row
        for name, value in zip(names, values, strict=True):
            table.columns[name].append(value)
        table.lines.append(number)
    return table


def _from_rows(
    source: str, rows: Iterator[tuple[int, list[str]]], columns: Sequence[str] | None
) -> Table:
    header = columns or next(rows, (0, []))[1]
    if not header or len(set(header)) < len(header):
        raise UserError(
            f"got the columns {', '.join(header) or 'of an empty file'} for {source}; expected"
            " distinct names, in its first line or by `columns`"
        )
    table = Table(source, {name: [] for name in header}, [])
    for line, row in rows:
        if len(row) != len(header):
            raise UserError(
                f"{source}, line {line}: got {len(row)} fields; expected {len(header)}, one for"
                f" each of {', '.join(header)}"
            )
        for name, value in zip(header, row, strict=True):
            table.columns[name].append(value)
        table.lines.append(line)
    return _not_empty(table)


def _tsv_rows(source: str) -> Iterator[tuple[int, list[str]]]:
    return ((n, line.split("\t")) for n, line in numbered_lines(source) if line.strip())


def _csv_rows(source: str) -> Iterator[tuple[int, list[str]]]:
    for _ in numbered_lines(source):  # says which line is no UTF-8
        pass
    reader = csv.reader(
        io.StringIO(read_bytes(source).decode("utf-8-sig"), newline=""), strict=True
    )
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise UserError(
            f"{source}, line {reader.line_num}: got no CSV ({error}); expected fields between"
            " commas, quoted by double quotes"
        ) from error


def _from_objects(source: str) -> Table:
    table = Table(source, {}, [])
    for line, row in json_objects(source):
        if not table.lines:
            table.columns.update((name, []) for name in row)
        for name, values in table.columns.items():
            if name not in row:
                raise UserError(
                    f"{source}, line {line}: got an object without {name!r}; expected the members"
                    f" of the first line, {', '.join(table.columns)}"
                )
            values.append(row[name])
        table.lines.append(line)
    return _not_empty(table)


def json_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a file of JSON lines; empty lines are left out.

    Raises:
        UserError: a line that is no JSON object, with its number.
    """
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path}, line {number}: got no JSON ({error.msg} at character {error.pos});"
                " expected one object a line"
            ) from error
        if not isinstance(row, dict):
            raise UserError(
                f"{path}, line {number}: got a {type(row).__name__}; expected one object a line"
            )
        yield number, row


def _not_empty(table: Table) -> Table:
    if not table.lines:
        raise UserError(f"got {table.source}, which has no rows; expected at least one")
    return table
