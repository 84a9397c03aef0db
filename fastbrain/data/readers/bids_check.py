"""Check of a BIDS folder before work starts: its description, and the names of recordings.

This is a part of what the BIDS Validator checks: that which decides whether files are found.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from ...errors import CohortError, some
from .entities import Image
from .tables import read_lines
from .tree import Tree

_NAME = re.compile(r"sub-[A-Za-z0-9+]+(?:_[a-z]+-[A-Za-z0-9+]+)*_[A-Za-z0-9]+(?:\.[A-Za-z0-9]+)+")
_KEY = re.compile(r"([a-z]+)-")
_TYPES = ("raw", "derivative", "study")
# recordings and tables that need the entity task
_OF_A_TASK = ("bold", "cbv", "sbref", "events", "physio", "stim")


def check_bids(root: str | Path, *, function: str, remedy: str = "") -> None:
    """Check ``dataset_description.json`` and the names of the files of functional recordings.

    Files that ``.bidsignore`` names are left out.

    Parameters
    ----------
    root : str or Path
    function : str
        Name of the calling function, for messages.
    remedy : str
        What else can be done, for messages.

    Raises
    ------
    CohortError
        The description is missing, damaged or lacks ``Name`` or ``BIDSVersion``; there is no
        folder ``sub-*``; or names are not those of BIDS. All that is found is in one message.
    """
    tree = Tree(Path(root), allow_outside=True, function=function)
    found = _description(tree)
    subjects = tree.subjects()
    if not subjects:
        found.append("no folder sub-*")
    ignored = _ignored(tree.root)
    wrong: dict[str, list[str]] = {}
    for subject in subjects:
        for image in tree.recordings(subject):
            path = image[0].relative_to(tree.root).as_posix()
            problem = _problem(image, path.split("/")[:-1])
            if problem and not any(_matches(path, pattern) for pattern in ignored):
                wrong.setdefault(problem, []).append(path)
    found += [f"{len(names)} files {what}: {some(names)}" for what, names in wrong.items()]
    if found:
        raise CohortError(
            f"{function}: {tree.root} must be a BIDS data set, got {'; '.join(found)}. Correct "
            f"that{remedy}."
        )


def _description(tree: Tree) -> list[str]:
    path = tree.root / "dataset_description.json"
    if not path.exists() and not path.is_symlink():
        return [f"no {path.name}"]
    said = tree.json(path)
    lacking = [
        key for key in ("Name", "BIDSVersion") if not (isinstance(said.get(key), str) and said[key])
    ]
    found = [f"{path.name} without {' and '.join(lacking)}"] if lacking else []
    if "DatasetType" in said and said["DatasetType"] not in _TYPES:
        found.append(f"{path.name} with the DatasetType {said['DatasetType']!r:.40}")
    return found


def _problem(image: Image, folders: list[str]) -> str:
    """Say what is wrong with the name of a file in `folders`; "" if nothing is."""
    path, tags = image
    if not _NAME.fullmatch(path.name):
        return "that are not named sub-LABEL_key-LABEL_suffix.extension"
    stem = path.name.split(".")[0]
    keys = [match[1] for part in stem.split("_") if (match := _KEY.match(part))]
    if len(set(keys)) < len(keys):
        return "with an entity twice"
    session = next((name for name in folders if name.startswith("ses-")), "ses-")
    if (f"sub-{tags['sub']}", f"ses-{tags.get('ses', '')}") != (folders[0], session):
        return "with another subject or session than their folders"
    if stem.rpartition("_")[2] in _OF_A_TASK and "task" not in tags:
        return "of a recording without the entity task"
    return ""


def _ignored(root: Path) -> list[str]:
    path = root / ".bidsignore"
    lines = read_lines(path) if path.is_file() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _matches(path: str, pattern: str) -> bool:
    """Return whether a path, or a folder of it, fits a pattern as of ``.gitignore``."""
    anchored = "/" in pattern.rstrip("/")
    pattern = pattern.strip("/").replace("**/", "*")
    parts = path.split("/")
    places = ["/".join(parts[:i]) for i in range(1, len(parts) + 1)] if anchored else parts
    return any(fnmatchcase(place, pattern) for place in places)
