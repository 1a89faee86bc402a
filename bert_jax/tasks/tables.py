"""Tables of texts and labels: TSV, CSV and JSON lines, by named columns."""

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_jax.errors import UserError
from bert_jax.json_reading import NotJSONError, parse_json, shortened
from bert_jax.tasks.lines import Line, LineError, each_line, numbered_lines, opened, wrong_bytes

FORMATS = (".tsv", ".csv", ".jsonl")
_LONGEST_FIELD = 1 << 30  # characters; by default csv takes 131,072
_SEPARATED = {"\t": ".tsv", ";": ".csv", ",": ".csv"}  # where fields have this between them
_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that are not valid UTF-8


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
        check_column(self.source, self.columns, name, argument)
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
                    f"{self.source}, line {line}: got {name} = {shortened(repr(value))}; expected a"
                    " text"
                )
        return [value.strip() for value in values]


def check_column(source: str, columns: Iterable[str], name: str, argument: str) -> None:
    """Make sure that a source has a column.

    Args:
        source: what has columns, for the error.
        columns: their names.
        name: of the column.
        argument: by which the user names it, for the error.

    Raises:
        UserError: there is none of this name.
    """
    names = list(columns)
    if name in names:
        return
    for between, ending in _SEPARATED.items():
        if len(names) == 1 and between in names[0] and ending not in source:
            raise UserError(
                f"got one column, {names[0]!r}, in {source}; fields seem to be separated by"
                f" {between!r}: expected a name that ends in {ending}"
            )
    raise UserError(
        f"got {argument}={name}, which {source} lacks; expected one of its columns, "
        f"{', '.join(names)} (for a file without a header line, name them by `columns`)"
    )


def read_table(path: str | Path, columns: Sequence[str] | None = None) -> Table:
    r"""Read a `.tsv`, `.csv` or `.jsonl` file, each also with `.gz` behind it.

    TSV has no quoting: a tab ends a field, a newline ends a row. CSV has the quoting of RFC 4180;
    semicolons stand for commas where its header line has some, and no comma or tab. Empty lines are
    left out.

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
    header, rows = table_lines(source, columns)
    table = Table(source, {name: [] for name in header}, [])
    for row in rows:
        if isinstance(row, LineError):
            raise row
        assert row.content is not None
        for name, value in row.content.items():
            table.columns[name].append(value)
        table.lines.append(row.number)
    return _not_empty(table)


def table_lines(
    path: str | Path, columns: Sequence[str] | None = None
) -> tuple[list[str], Iterator[Line | LineError]]:
    """Read a `.tsv` or `.csv` file row by row; see `read_table`.

    Returns:
        the names of the columns, and the rows by these names; instead of a row that does not fit,
        the error that names its line.

    Raises:
        UserError: the file cannot be read, or the names are not as they should be.
    """
    source = str(path)
    fields = _csv_rows if source.removesuffix(".gz").endswith(".csv") else _tsv_rows
    rows = fields(source, not columns)
    number, first = next(rows, (0, []))
    header = list(columns or _raised(first))
    if not header or len(set(header)) < len(header):
        raise UserError(
            f"got the columns {', '.join(header) or 'of an empty file'} for {source}; expected"
            " distinct names, in its first line or by `columns`"
        )
    if columns and first == header:
        raise LineError(
            source,
            number,
            f"got the names of columns={','.join(header)} themselves; expected none for a file"
            " with a header line",
        )
    if columns and number:
        rows = itertools.chain([(number, first)], rows)
    return header, (_named(source, line, row, header) for line, row in rows)


def _named(
    source: str, line: int, row: list[str] | LineError, header: Sequence[str]
) -> Line | LineError:
    if isinstance(row, LineError):
        return row
    if len(row) != len(header):
        return LineError(
            source,
            line,
            f"got {len(row)} fields; expected {len(header)}, one for each of {', '.join(header)}",
        )
    return Line(source, line, (), dict(zip(header, row, strict=True)))


def _raised(row: list[str] | LineError) -> list[str]:
    if isinstance(row, LineError):
        raise row
    return row


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


def _tsv_rows(source: str, header: bool) -> Iterator[tuple[int, list[str] | LineError]]:
    del header
    for number, line in each_line(source):
        if isinstance(line, LineError):
            yield number, line
        elif line.strip():
            yield number, line.split("\t")


def _csv_rows(source: str, header: bool) -> Iterator[tuple[int, list[str] | LineError]]:
    csv.field_size_limit(_LONGEST_FIELD)
    with (
        opened(source) as file,
        io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text,
    ):
        first = text.readline()
        wrong: list[LineError] = []
        lines = _noted(source, itertools.chain([first] if first else [], text), wrong)
        reader = csv.reader(lines, strict=True, delimiter=_delimiter(first) if header else ",")
        while True:
            wrong.clear()
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield (
                    reader.line_num,
                    LineError(
                        source,
                        reader.line_num,
                        f"got invalid CSV ({error}); expected fields between commas, quoted by"
                        " double"
                        " quotes",
                    ),
                )
                continue
            if wrong:
                yield reader.line_num, wrong[0]
            elif row:
                yield reader.line_num, row


def _noted(source: str, lines: Iterable[str], wrong: list[LineError]) -> Iterator[str]:
    """The same lines; the errors of those that are not valid UTF-8 are appended to `wrong`."""
    for number, line in enumerate(lines, 1):
        if _ESCAPED.search(line) or number == 1:
            error = wrong_bytes(source, number, line.encode("utf-8", "surrogateescape"))
            wrong.extend([error] if error else [])
        yield line


def _delimiter(header: str) -> str:
    """What stands between the fields of a CSV file: a comma, unless its header has only semicolons.

    >>> _delimiter("Row ID;Review Text"), _delimiter("id;no,text"), _delimiter("text")
    (';', ',', ',')
    """
    return ";" if ";" in header and not {",", "\t"} & set(header) else ","


def semicolons(path: str | Path) -> bool:
    """Whether `read_table` reads a file by its semicolons, as spreadsheets write CSV in Europe.

    Raises:
        UserError: the file cannot be read.
    """
    if not str(path).removesuffix(".gz").endswith(".csv"):
        return False
    with opened(path) as file:
        return _delimiter(file.readline().decode("utf-8", "replace")) == ";"


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
        UserError: a line that is not a JSON object, with its number.
    """
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except NotJSONError as error:
            raise UserError(
                f"{path}, line {number}: got invalid JSON ({error}); expected one object per line"
            ) from error
        if not isinstance(row, dict):
            raise UserError(
                f"{path}, line {number}: got a {type(row).__name__}; expected one object per line"
            )
        yield number, row


def _not_empty(table: Table) -> Table:
    if not table.lines:
        raise UserError(f"got {table.source}, which has no rows; expected at least one")
    return table
