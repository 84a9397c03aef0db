"""What checks of an image have to say: errors that refuse it, notes on how it is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import VolumeError


@dataclass(frozen=True)
class Finding:
    """What a check has to say about a header.

    Parameters
    ----------
    level : str
        ``"error"``: the file is refused. ``"note"``: it is read, and this is how.
    field : str
        Header field.
    message : str
        What was expected, what was found, what to do.
    """

    level: str
    field: str
    message: str


def refuse(path: Path, findings: list[Finding]) -> None:
    """Raise one :class:`VolumeError` that lists every error among `findings`."""
    errors = [f"{f.field} {f.message}" for f in findings if f.level == "error"]
    if errors:
        raise VolumeError(f"load: {path}: {' Also: '.join(errors)}")
