"""Detect files of git-annex and DataLad with contents that were not fetched yet."""

from __future__ import annotations

from pathlib import Path

from ...errors import CohortError

_ANNEX_POINTER = b"/annex/objects/"  # start of an unlocked git-annex file that was not fetched
_FETCH = "Run 'datalad get' or 'git annex get' on it."


def refuse_unfetched(path: Path) -> None:
    """Raise if git-annex or DataLad has not fetched the contents of a file yet.

    Raises
    ------
    CohortError
        `path` is a link to nothing, or the pointer that git-annex leaves in place of a file.
    """
    if path.is_symlink() and not path.exists():
        state = f"a link to {path.readlink()}, which is not there"
    elif path.is_file() and _begins_as_pointer(path):
        state = "the pointer of git-annex to it"
    else:
        return
    raise CohortError(f"table: {path} must have been fetched, got {state}. {_FETCH}")


def _begins_as_pointer(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(_ANNEX_POINTER)) == _ANNEX_POINTER
    except OSError:
        return False  # the error is raised where the file is read
