"""Safe reading of Parquet tables.

Parquet encodings can repeat a value any number of times in a few bytes, so a file of kilobytes may
declare billions of rows. Each row of a fastbrain table has a name, which takes at least a byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ._footer import Claims, read_claims
from .errors import FastbrainError

_ROWS_A_BYTE = 1  # the smallest fastbrain table, of numbered trials, takes 6 bytes a row
_CODECS = (0, 1)  # none and snappy
_MAX_SNAPPY = 22  # a copy of 64 bytes takes three (snappy format description)


def read_columns(
    path: str | Path, *, where: str, error: type[FastbrainError]
) -> tuple[dict[str, list[Any]], Any]:
    """Read a Parquet table with named rows.

    Parameters
    ----------
    path : str or Path
    where : str
        Name of the calling function, for messages.
    error : type of FastbrainError
        Type of the error raised.

    Returns
    -------
    columns : dict of str to list
        Python values; None for missing values.
    schema : pyarrow.Schema

    Raises
    ------
    FastbrainError
        Of the kind `error`: the file cannot be read, is compressed with an unsupported codec, or
        declares more data than its size allows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    try:
        problem = _impossible(read_claims(path), path.stat().st_size)
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
        problem = problem or _foreign(schema)
        if problem:
            raise error(f"{where}: {path} must be a table of ours, got {problem}.")
        # a text shared by many rows is stored once
        texts = [field.name for field in schema if pa.types.is_string(field.type)]
        with pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True) as file:
            table = file.read()
        # indices of shared texts are not checked while they are read
        table.validate(full=True)
        return {name: _values(table[name]) for name in table.column_names}, schema
    except FastbrainError:
        raise
    except (OSError, ValueError, KeyError, MemoryError, pa.ArrowException) as reason:
        raise error(f"{where}: {path} must be a readable Parquet file, got '{reason}'.") from reason


def _foreign(schema: Any) -> str:
    """Describe a column that is neither text nor numbers, "" if there is none."""
    from pyarrow import types

    plain = (types.is_string, types.is_boolean, types.is_integer, types.is_floating, types.is_null)
    odd = [f"{f.name} of {f.type}" for f in schema if not any(is_(f.type) for is_ in plain)]
    return f"the column {odd[0]}" if odd else ""


def _impossible(claims: Claims, size: int) -> str:
    """Describe why the footer of a file of `size` bytes is impossible, "" if it is not."""
    if not 0 <= claims.rows <= size * _ROWS_A_BYTE:
        return f"{claims.rows} rows in {size} bytes"
    if sum(rows for rows, _ in claims.groups) != claims.rows:
        return f"row groups that are not its {claims.rows} rows"
    packed = 0
    for rows, chunks in claims.groups:
        for chunk in chunks:
            if chunk.codec not in _CODECS:
                return f"compression {chunk.codec}"
            packed += chunk.packed
            if min(rows, chunk.packed) < 0 or packed > size:
                return f"columns of {packed} bytes in {size}"
            if chunk.values != rows or chunk.unpacked > chunk.packed * _MAX_SNAPPY:
                return f"{chunk.values} values, {chunk.unpacked} bytes, from {chunk.packed}"
    return ""


def _values(column: Any) -> list[Any]:
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        return list(column.to_pylist())
    found: list[Any] = []
    for chunk in column.chunks:
        known = chunk.dictionary.to_pylist()
        found += [None if i is None else known[i] for i in chunk.indices.to_pylist()]
    return found
