"""Results of image checks: errors that reject the file, and notes on how it is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import VolumeError


@dataclass(frozen=True)
class Finding:
    """Result of one check of a header field.

    Parameters
    ----------
    level : str
        ``"error"``: the file is rejected. ``"note"``: the message states how the field is read.
    field : str
        Header field.
    message : str
        The expected value, the value found, and the remedy.
    """

    level: str
    field: str
    message: str


def refuse(path: Path, findings: list[Finding]) -> None:
    """Raise one :class:`VolumeError` that lists every error among `findings`."""
    errors = [f"{f.field} {f.message}" for f in findings if f.level == "error"]
    if errors:
        raise VolumeError(f"load: {path}: {' Also: '.join(errors)}")
