"""Per-sample file of an evaluation: texts and likelihoods under every control, and scores."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from .._io import write_atomic
from .._parquet import read_columns
from .._rules import number, text
from ..errors import InputError
from .controls.conditions import TRUE
from .protocol import Evaluation

_TEXT, _NLL, _SCORE = "text: ", "nll: ", "score: "
_TEXTS = ("trial_id", "truth", "decoded", "block")


@checked
def write_samples(path: str | Path, evaluation: Evaluation) -> Path:
    """Write one row per sample as Parquet, atomically.

    Columns: ``trial_id``, ``subject``, ``run_id``, ``block``, ``truth``, ``decoded``,
    ``deranged`` (text of the first derangement), ``text: <control>``, ``nll: <control>``
    (teacher-forced, nats per token; mean over the derangements for deranged brains) and
    ``score: <metric>``
    (free-running; ``score: pairwise`` is teacher-forced).

    Parameters
    ----------
    path : str or Path
    evaluation : Evaluation
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    samples, found = evaluation.samples, evaluation.conditions
    columns: dict[str, Any] = {
        name: [getattr(s, name) for s in samples]
        for name in ("trial_id", "subject", "run_id", "truth", "decoded")
    }
    columns |= {"block": list(found.blocks), "deranged": list(evaluation.permuted)}
    for control in found:
        if control.texts is not None and control.name != TRUE:
            columns[_TEXT + control.name] = list(control.texts)
        if control.nll is not None:
            columns[_NLL + control.name] = np.atleast_2d(control.nll).mean(axis=0)
    columns |= {_SCORE + name: values for name, values in evaluation.per_sample.items()}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, write_page_checksum=True)
    return write_atomic(path, buffer.getvalue())


@checked
def read_samples(path: str | Path) -> dict[str, list[Any]]:
    """Read the columns that :func:`write_samples` wrote.

    Raises
    ------
    InputError
        The file does not exist, was not written by :func:`write_samples`, or is damaged.
    """
    if not Path(path).is_file():
        raise InputError(
            f"read_samples: {path} must exist, got no such file. Run fastbrain evaluate."
        )
    columns, _ = read_columns(path, where="read_samples", error=InputError)
    absent = set(_TEXTS) - set(columns)
    if absent:
        raise InputError(
            f"read_samples: {path} must hold the columns of evaluate, got no {sorted(absent)}."
        )
    for name, values in columns.items():
        numbers = name.startswith((_NLL, _SCORE))
        texts = name in _TEXTS or name.startswith(_TEXT)
        if (numbers and not all(map(number, values))) or (texts and not all(map(text, values))):
            raise InputError(
                f"read_samples: {path} must hold {'numbers' if numbers else 'texts'} without gaps "
                f"in column '{name}', got others. The file is damaged or was edited."
            )
    if len(set(columns["trial_id"])) != len(columns["trial_id"]):
        raise InputError(f"read_samples: {path} must name each trial once, got one twice.")
    return columns


@checked
def sample_scores(columns: Mapping[str, list[Any]]) -> dict[str, npt.NDArray[np.float64]]:
    """Select the score columns, by metric name."""
    return {
        name.removeprefix(_SCORE): np.asarray(values, dtype=np.float64)
        for name, values in columns.items()
        if name.startswith(_SCORE)
    }
