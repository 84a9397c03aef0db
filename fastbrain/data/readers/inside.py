"""Paths that must stay inside the folder of a data set."""

from __future__ import annotations

import os
from pathlib import Path

from ..._io import safe_join
from ...errors import CohortError

_ALLOW = "If that is meant, pass allow_outside=True (--allow-outside)."


def inside(root: Path, name: str, *, what: str, remedy: str = _ALLOW) -> Path:
    """Return ``root/name``, after checking that it lies below `root` with links resolved.

    `what` (calling function and file) and `remedy` are words of the message.

    Raises
    ------
    CohortError
        The file lies outside; the message names the target of a link and the remedy.
    """
    try:
        return safe_join(root, name)
    except CohortError as error:
        base = os.path.abspath(root)
        written = os.path.normpath(os.path.join(base, name))
        linked = Path(written).is_relative_to(base) and "\0" not in name
        found = f"a link to {os.path.realpath(written)}" if linked else f"'{name}'"
        raise CohortError(f"{what} must stay inside {root}, got {found}. {remedy}") from error
