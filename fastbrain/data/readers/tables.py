r"""Read and write tables: tab-separated (BIDS) and comma-separated text.

A row ends only at ``\r\n``, ``\n`` or ``\r``; no cell spans two lines. Quotation marks are removed
only if the whole cell is properly quoted, with inner quotation marks doubled; any other quotation
mark is part of the text. In a TSV file a tab always separates cells. In a CSV file a comma within a
properly quoted cell belongs to the cell.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...errors import CohortError, InputError
from .unfetched import refuse_unfetched

MISSING = ("", "n/a")  # an empty cell, and "not available" in BIDS
_NOT_BIDS = ("N/A", "#N/A", "<NA>", "NaN")  # missing values as written by other programs
_ALSO_WORDS = ("NA", "nan", "NULL", "None")  # the same, but these are also spoken words
_ANY_CASE = {sign.lower() for sign in _NOT_BIDS + _ALSO_WORDS}
# invisible characters: Unicode spaces, control and format characters, Hangul fillers
_FORMAT = (
    r"\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u115f\u1160\u180e\u200b-\u200f"
    r"\u2028-\u202f\u205f-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
)
_EDGES = re.compile(rf"\A[\s{_FORMAT}]+|[\s{_FORMAT}]+\Z")
_WITHIN = re.compile(rf"[{_FORMAT}]")
_TABLE_CAP = 64 << 20
_LINES_CAP = 1 << 30
_LINE_END = re.compile(r"\r?\n|\r")
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_CSV_CELL = re.compile(r'[ \t]*("(?:[^"]|"")*")[ \t]*(?=,|$)|([^,]*)')
# separators of other tables, those that are rarer within a column name first
_OTHERS = {",": "commas", ";": "semicolons", r"\|": "vertical bars", "\t": "tabs", r"\s": "spaces"}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


class Row(dict[str, str]):
    """Cells of a row by column, with file and line of the row.

    Parameters
    ----------
    cells : mapping of str to str
    path : Path
        File of the table.
    line : int
        Line in the file, counted from 1.
    """

    __slots__ = ("line", "path")

    def __init__(self, cells: Mapping[str, str], path: Path, line: int) -> None:
        super().__init__(cells)
        self.path = path
        self.line = line

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.path} line {self.line}"


def read_tsv(path: str | Path) -> tuple[list[str], list[Row]]:
    """Read a tab-separated table with a header line.

    Parameters
    ----------
    path : str or Path
        UTF-8, with or without a byte-order mark.

    Returns
    -------
    columns : list of str
    rows : list of Row
        Blank lines are left out; spaces around a cell are removed.

    Raises
    ------
    CohortError
        The file is missing, not fetched, larger than 64 MiB, not UTF-8, not separated by tabs,
        has a column name twice, or has a row with another number of cells than the header.
    """
    return _read(Path(path), "tabs")


def read_csv(path: str | Path) -> tuple[list[str], list[Row]]:
    """Read a comma-separated table with a header line; otherwise as :func:`read_tsv`."""
    return _read(Path(path), "commas")


def tsv_text(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table for :func:`read_tsv`, which restores it except for spaces around cells.

    Parameters
    ----------
    columns : sequence of str
    rows : iterable of sequence of str

    Raises
    ------
    InputError
        A cell contains a tab or a line end, which cannot be quoted in a BIDS table.
    """
    lines = ["\t".join(_written(cell) for cell in row) for row in (columns, *rows)]
    return "\n".join(lines) + "\n"


def read_lines(path: str | Path) -> list[str]:
    """Read the lines of a UTF-8 text file, without line ends.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    CohortError
        The file is missing, not fetched, larger than 1 GiB or not UTF-8.
    """
    lines = _LINE_END.split(_text(Path(path), _LINES_CAP))
    return lines[:-1] if lines[-1] == "" else lines


def given(row: Mapping[str, str], column: str, *, spoken: bool = False, label: bool = False) -> str:
    """Return a cell; "" if it is empty or ``n/a``, or if the table has no such column.

    Parameters
    ----------
    row : mapping of str to str
    column : str
    spoken : bool
        Whether the cell is a spoken word: ``NA``, ``nan``, ``NULL`` and ``None`` are then words.
    label : bool
        Whether the cell names a subject or a group, such as a family: signs for missing values are
        then rejected in any case, since all rows with one would become one group. Invisible
        characters are rejected too, and Unicode is normalised (NFC).

    Raises
    ------
    CohortError
        The cell contains a sign for a missing value other than ``n/a`` (``NA``, ``NaN``), or a
        label contains an invisible character.
    """
    value = row.get(column, "")
    signs = _NOT_BIDS if spoken else _NOT_BIDS + _ALSO_WORDS
    if value in signs or (label and value not in MISSING and value.lower() in _ANY_CASE):
        raise CohortError(
            f"table: {_place(row, column)} must be n/a where a value is missing, as in BIDS, got "
            f"'{value}'. Replace it."
        )
    if label and _WITHIN.search(value):
        raise CohortError(
            f"table: {_place(row, column)} must hold no character that cannot be seen, got "
            f"{value!a}. Remove it."
        )
    if label:  # a no-break space looks like a space
        value = unicodedata.normalize("NFC", " ".join(value.split()))
    return "" if value in MISSING else value


def _place(row: Mapping[str, str], column: str) -> str:
    return f"{row.where} {column}" if isinstance(row, Row) else column


def number_of(text: str, *, where: str, what: str = "a number") -> float | None:
    """Parse a numeric cell; None if it is empty or ``n/a``.

    Parameters
    ----------
    text : str
    where : str
        File, line and column, for messages.
    what : str
        Expected value with its unit, for messages.

    Raises
    ------
    CohortError
        The cell is not a finite decimal number: a decimal comma, a thousands separator, ``NaN``.
    """
    if text in MISSING:
        return None
    if _NUMBER.fullmatch(text) and abs(value := float(text)) != float("inf"):
        return value
    hint = "Replace it."
    if re.fullmatch(r"[-+]?[\d.,]*,[\d.,]*", text):
        hint = "Write a point for the decimal comma and no thousands separators."
    elif text.lower().strip("#<>") in ("n/a", "na", "nan", "null", "none"):
        hint = "BIDS writes n/a for a missing value."
    raise CohortError(f"table: {where} must be {what}, got '{text}'. {hint}")


def seconds_of(text: str, *, where: str) -> float | None:
    """Parse a time in seconds; None for empty or ``n/a``. Errors as :func:`number_of`."""
    return number_of(text, where=where, what="a number of seconds")


def _text(path: Path, cap: int) -> str:
    refuse_unfetched(path)
    try:
        if (size := path.stat().st_size) > cap:
            raise CohortError(
                f"table: {path} must be at most {cap >> 20} MiB, got {size >> 20}. Is it the right "
                "file?"
            )
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise CohortError(
            f"table: {path} must exist, got no such file or folder. Correct the path."
        ) from error
    except OSError as error:
        raise CohortError(
            f"table: {path} must be a readable table, got '{error.strerror}'."
        ) from error
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise CohortError(f"table: {path} must be UTF-8, got UTF-16. Save it as UTF-8.")
    if b"\0" in raw:
        raise CohortError(
            f"table: {path} must be UTF-8 text, got a zero byte. If it is UTF-16 without a "
            "byte-order mark, save it as UTF-8."
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(_LINE_END.split(raw[: error.start].decode("latin-1")))
        raise CohortError(
            f"table: {path} line {line} must be UTF-8 text, got the byte 0x{raw[error.start]:02x}. "
            "Save it as UTF-8."
        ) from error


def _read(path: Path, separator: str) -> tuple[list[str], list[Row]]:
    split = _tsv_cells if separator == "tabs" else _csv_cells
    numbered = enumerate(_LINE_END.split(_text(path, _TABLE_CAP)), start=1)
    lines = [(number, split(line)) for number, line in numbered if _bare(line)]
    if not lines:
        raise CohortError(f"table: {path} must have a header line, got an empty file.")
    columns = lines[0][1]
    if len(columns) == 1 and (other := _separator_in(columns[0])):
        raise CohortError(
            f"table: {path} must have its cells separated by {separator}, got {other} in the "
            f"header '{columns[0]:.80}'. Save it with {separator} in place of {other}."
        )
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise CohortError(f"table: {path} must name each column once, got {twice} twice.")
    rows = []
    for number, cells in lines[1:]:
        if len(cells) != len(columns):
            raise CohortError(
                f"table: {path} line {number} must have {len(columns)} cells, got {len(cells)}. "
                f"Separate them by {separator}."
            )
        rows.append(Row(dict(zip(columns, cells, strict=True)), path, number))
    return columns, rows


def _separator_in(header: str) -> str | None:
    """Name the character that separates the cells of a header which has no other separator."""
    found = (name for sign, name in _OTHERS.items() if re.search(sign, header))
    return next(found, None)


def _tsv_cells(line: str) -> list[str]:
    return [_unquoted(cell) for cell in line.split("\t")]


def _csv_cells(line: str) -> list[str]:
    cells, place = [], 0
    while True:
        match = _CSV_CELL.match(line, place)
        assert match is not None  # the pattern also matches nothing
        cells.append(_unquoted(match[1] or match[2]))
        place = match.end() + 1  # after the comma
        if place > len(line):
            return cells


def _unquoted(cell: str) -> str:
    cell = _bare(cell)
    quoted = _QUOTED.fullmatch(cell)
    return _bare(quoted[1].replace('""', '"')) if quoted else cell


def _bare(text: str) -> str:
    """Strip invisible characters at both ends of a text."""
    return _EDGES.sub("", text)


def _written(cell: str) -> str:
    if re.search(r"[\t\r\n]", cell):
        raise InputError(f"tsv_text: a cell must not hold a tab or a line end, got {cell!r}.")
    return f'"{cell.replace(chr(34), chr(34) * 2)}"' if _QUOTED.fullmatch(cell) else cell
