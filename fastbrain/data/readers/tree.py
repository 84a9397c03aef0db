"""Files of a BIDS tree by folder: every folder is listed once, and its names are parsed once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..._io import read_json
from ...errors import CohortError
from .entities import IGNORED, Image, entities
from .inside import inside
from .unfetched import refuse_unfetched

_RECORDINGS = "func"


class Tree:
    """A BIDS folder, listed as far as it is asked for.

    Parameters
    ----------
    root : Path
        Folder with ``sub-*`` folders.
    allow_outside : bool
        Whether files may be links that lead out of `root`.
    function : str
        Name of the calling function, for messages.
    """

    def __init__(
        self, root: Path, *, allow_outside: bool = False, function: str = "runs_from_bids"
    ) -> None:
        self.root = root
        self.allow_outside = allow_outside
        self.function = function
        self._listed: dict[Path, tuple[list[Path], list[Image]]] = {}
        self._of_subject: dict[str, list[Image]] = {}
        self._ending: dict[tuple[str, tuple[str, ...]], list[Image]] = {}
        self._json: dict[Path, dict[str, Any]] = {}
        self._links: set[Path] = set()
        self._within: set[Path] = set()

    def folders(self, folder: Path) -> list[Path]:
        """List the folders in a folder, sorted by name, without hidden ones."""
        return self._list(folder)[0]

    def files(self, folder: Path) -> list[Image]:
        """List the files in a folder with their entities, sorted by name, without hidden ones."""
        return self._list(folder)[1]

    def subjects(self) -> list[str]:
        """List the names of the folders ``sub-*``."""
        return [f.name for f in self.folders(self.root) if f.name.startswith("sub-")]

    def recordings(self, subject: str) -> list[Image]:
        """List the files of a subject that may belong to functional recordings.

        Those in ``sub-X``, ``sub-X/ses-Y`` and the folders ``func`` of both.
        """
        if subject not in self._of_subject:
            found: list[Image] = []
            for folder in self._folders_of(self.root / subject):
                found += self.files(folder)
            self._of_subject[subject] = found
        return self._of_subject[subject]

    def recordings_ending(self, subject: str, suffixes: tuple[str, ...]) -> list[Image]:
        """List those of :meth:`recordings` with one of some ends of the name."""
        key = (subject, suffixes)
        if key not in self._ending:
            found = self.recordings(subject)
            self._ending[key] = [image for image in found if image[0].name.endswith(suffixes)]
        return self._ending[key]

    def _folders_of(self, folder: Path) -> Iterator[Path]:
        yield folder
        for inner in self.folders(folder):
            if inner.name == _RECORDINGS:
                yield inner
            elif inner.name.startswith("ses-"):
                yield from self._folders_of(inner)

    def up(self, start: Path) -> list[Path]:
        """List the folders from that of a file up to the root."""
        chain = [start.parent, *start.parent.parents]
        return chain[: chain.index(self.root) + 1]

    def json(self, path: Path) -> dict[str, Any]:
        """Read a JSON object, once.

        Raises
        ------
        CohortError
            The file leads out of the tree, was not fetched, is damaged or holds something else.
        """
        if path not in self._json:
            self.check(path, what="sidecar")
            refuse_unfetched(path)
            found = read_json(path)
            if not isinstance(found, dict):
                raise CohortError(f"sidecar: {path} must hold a JSON object. Correct it.")
            self._json[path] = found
        return self._json[path]

    def check(self, path: Path, *, what: str = "") -> Path:
        """Return a file, after checking that it does not lead out of the tree.

        `what` names the kind of file in the message; default: the calling function.

        Raises
        ------
        CohortError
        """
        # a file that is no link lies in its folder, which is looked at once
        if self.allow_outside or (path not in self._links and path.parent in self._within):
            return path
        what = f"{what or self.function}: {path}"
        inside(self.root, str(path.relative_to(self.root)), what=what)
        if path.parent in self._listed and path not in self._links:
            self._within.add(path.parent)
        return path

    def _list(self, folder: Path) -> tuple[list[Path], list[Image]]:
        if folder not in self._listed:
            folders, files = [], []
            for entry in _entries(folder):
                if entry.name.startswith("."):
                    continue
                path = folder / entry.name
                if entry.is_symlink():
                    self._links.add(path)
                if entry.is_dir():
                    folders += [] if entry.name in IGNORED else [path]
                else:
                    files.append((path, entities(path)))
            self._listed[folder] = (folders, files)
        return self._listed[folder]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listed:
            return sorted(listed, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CohortError(
            f"bids: {folder} must be a folder that can be listed, got '{error}'. Correct its "
            "permissions, or choose another one."
        ) from error
