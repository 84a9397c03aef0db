"""Options and tables of numbers of the studies, refused before work where they are invalid."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from fastbrain.errors import CohortError


def positive(text: str) -> int:
    """An option of 1 or more."""
    try:
        if (value := int(text)) >= 1:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"must be an integer of 1 or more, got {text!r}")


def read_numbers(path: Path, study: str) -> np.ndarray:
    """Rows of numbers, (N, M)."""
    try:
        return np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise CohortError(f"{study}: {path} must hold rows of numbers, got: {error}.") from error


def same_length(people: dict[str, np.ndarray], folder: Path) -> int:
    """Number of volumes of time courses (T, R), the same for each of four listeners or more."""
    lengths = {len(values) for values in people.values()}
    if len(people) < 4 or len(lengths) > 1:
        raise CohortError(
            f"alice: {folder} must hold four listeners or more, equally long, got {len(people)} of "
            f"{sorted(lengths)} volumes."
        )
    return lengths.pop()
