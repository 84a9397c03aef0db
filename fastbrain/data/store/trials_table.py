"""Trials of a store as a Parquet table."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..._io import write_atomic
from ..._parquet import read_columns
from ...errors import StoreError
from ..readers.events import Trial

_LATER = ("story", "family", "site", "instruction", "prompt")  # columns that older stores lack


def read_trials_table(path: Path) -> list[Trial]:
    """Read the trials of a ``trials.parquet``.

    Raises
    ------
    StoreError
        The file cannot be read, claims more rows than it can hold, or has other columns or gaps.
    """
    columns, found = read_columns(path, where="VoxelStore.open", error=StoreError)
    schema = _schema()
    for name in _LATER:
        if name not in columns:
            schema = schema.remove(schema.get_field_index(name))
    if not found.equals(schema) or any(None in values for values in columns.values()):
        raise StoreError(
            f"VoxelStore.open: {path} must have the columns {_schema().names} without gaps."
        )
    rows = zip(*columns.values(), strict=True)
    return [Trial(**dict(zip(columns, row, strict=True))) for row in rows]


def write_trials_table(path: Path, trials: list[Trial]) -> None:
    """Write trials as Parquet, atomically; equal trials give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([asdict(trial) for trial in trials], schema=_schema())
    write_atomic(path, lambda file: pq.write_table(table, file))


def _schema() -> Any:
    import pyarrow as pa

    kinds = {"str": pa.string(), "float": pa.float64(), "int": pa.int64()}
    return pa.schema([(f.name, kinds[str(f.type)]) for f in fields(Trial)])
