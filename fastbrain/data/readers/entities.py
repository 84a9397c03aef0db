"""BIDS file names: entities, ignored files, and the choice of one image per run."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ...errors import CohortError, ConfigError, some

Image = tuple[Path, dict[str, str]]  # a file and its entities

# entities that can be chosen, in the order of a BIDS name
CHOOSABLE = (
    "task", "acq", "ce", "rec", "dir", "echo", "part", "chunk", "space", "res", "den", "desc",
)  # fmt: skip
_ENTITY = re.compile(r"([a-z]+)-([A-Za-z0-9+]+)")
_LABEL = re.compile(r"[A-Za-z0-9+]+")
# before the extension of a GIFTI or CIFTI image
_KINDS = (".func", ".shape", ".dtseries", ".ptseries")
# folders that hold no recordings of the data set itself
IGNORED = ("sourcedata", "code", "derivatives")
_WITHOUT = "none"


def entities(path: Path) -> dict[str, str]:
    """Parse the key-value pairs of a BIDS file name: ``{"sub": "01", "run": "03"}``."""
    return dict(_ENTITY.findall(path.name.split(".")[0]))


def suffix_of(path: Path) -> str:
    """Return the last word of a BIDS file name, ``bold`` of ``sub-01_bold.nii.gz``."""
    return _words(path)[-1]


def sidecar_beside(image: Path) -> Path:
    """Return the path of the JSON file that an image has for itself, whether it exists or not."""
    return image.with_name(image.name.removesuffix(".gz").rpartition(".")[0] + ".json")


def inherits(image: Path, sidecar: Path) -> bool:
    """Return whether an image has the suffix of a JSON file and its other words.

    Entities are not compared.
    """
    words = _words(image)
    *others, suffix = sidecar.name.removesuffix(".json").split("_")
    return suffix == words[-1] and all(_ENTITY.fullmatch(w) or w in words for w in others)


def _words(image: Path) -> list[str]:
    name = sidecar_beside(image).stem
    for kind in _KINDS:
        name = name.removesuffix(kind)
    return name.split("_")


def is_data(root: Path, path: Path) -> bool:
    """Return False for hidden files and those in sourcedata, code or derivatives below `root`."""
    parts = path.relative_to(root).parts
    return not any(part.startswith(".") or part in IGNORED for part in parts)


def refuse_misplaced(root: Path, path: Path, tags: Mapping[str, str]) -> None:
    """Raise for a file with another subject or session in its name than in its folders.

    Raises
    ------
    CohortError
    """
    for folder in path.relative_to(root).parts[:-1]:
        key, dash, label = folder.partition("-")
        if dash and key in ("sub", "ses") and tags.get(key) != label:
            raise CohortError(
                f"bids: {path} must be named like its folder {folder}, got "
                f"{key}-{tags.get(key, '')}. Move or rename it."
            )


def check_choice(choice: Mapping[str, str | None], *, function: str) -> dict[str, str]:
    """Check the chosen values of entities and drop those that are None.

    Parameters
    ----------
    choice : mapping of str to str or None
        By entity, "1" or "echo-1"; "none" chooses the files without the entity.
    function : str
        Name of the calling function, for messages.

    Raises
    ------
    ConfigError
        An entity cannot be chosen, or a value is not a label.
    """
    chosen: dict[str, str] = {}
    for key, value in choice.items():
        if key not in CHOOSABLE:
            near = difflib.get_close_matches(key, CHOOSABLE, n=1)
            hint = f"Did you mean {near[0]}?" if near else "Sort the runs by their own names."
            raise ConfigError(
                f"{function}: an entity must be one of {', '.join(CHOOSABLE)}, got {key!r}. {hint}"
            )
        if value is None:
            continue
        label = str(value).removeprefix(f"{key}-")
        if not _LABEL.fullmatch(label):
            raise ConfigError(
                f"{function}: {key} must be letters and digits, got {value!r}. Take the label from "
                f"the file names, or '{_WITHOUT}' for files without {key}."
            )
        chosen[key] = label
    return chosen


def choose(
    root: Path,
    images: list[Image],
    chosen: Mapping[str, str],
    *,
    single: Iterable[str] = (),
    function: str,
) -> list[Image]:
    """Select the images with the chosen entities.

    Parameters
    ----------
    root : Path
    images : list of Image
    chosen : mapping of str to str
        From :func:`check_choice`.
    single : iterable of str
        Entities that may have only one value over all images.
    function : str
        Name of the calling function, for messages.

    Raises
    ------
    CohortError
        No image has a chosen value, or an entity of `single` has several.
    """
    for key in dict.fromkeys([*single, *chosen]):
        values = sorted({tags.get(key, "") for _, tags in images})
        if key in chosen:
            kept = [image for image in images if _has(image[1], key, chosen[key], values)]
            if images and not kept:
                raise CohortError(
                    f"{function}: {root} must hold images with {key} {chosen[key]}, got none; "
                    f"they have {key} {_listed(values)}. Choose one of these."
                )
            images = kept
        elif len(values) > 1:
            examples = [next(p for p, tags in images if tags.get(key, "") == v) for v in values]
            raise CohortError(
                f"{function}: {root} must hold one {key}, got several values of {key} "
                f"({_listed(values)}): {some(examples)}. Pass {key}= (--{key})."
            )
    return images


def agrees(tags: Mapping[str, str], chosen: Mapping[str, str]) -> bool:
    """Return whether entities in a file name have the chosen values; absent ones are ignored."""
    return all(_has(tags, key, value, []) for key, value in chosen.items() if key in tags)


def conflicting(one: Mapping[str, str], other: Mapping[str, str], keys: Iterable[str]) -> list[str]:
    """List the entities of `keys` that both names contain with different values.

    Indices may be padded: run-1 equals run-01.
    """
    both = (key for key in keys if key in one and key in other)
    return [key for key in both if not _has(one, key, other[key], [other[key]])]


def refuse_several(root: Path, files: list[Image], *, function: str, what: str = "image") -> None:
    """Raise for two files of the same subject, session and run; errors as :func:`refuse_group`."""
    runs: dict[tuple[str, str, str], list[Image]] = {}
    for path, tags in files:
        key = (tags.get("sub", ""), tags.get("ses", ""), tags.get("run", "1"))
        runs.setdefault(key, []).append((path, tags))
    several = [group for group in runs.values() if len(group) > 1]
    if several:
        refuse_group(root, several[0], count=len(several), function=function, what=what)


def refuse_group(
    root: Path, group: list[Image], *, function: str, count: int = 1, what: str = "image"
) -> None:
    """Raise if a run has more than one file.

    Parameters
    ----------
    root : Path
    group : list of Image
        The files of one run.
    function : str
        Name of the calling function, for messages.
    count : int
        Number of runs with several files, for the message.
    what : str
        Kind of the files, for the message.

    Raises
    ------
    CohortError
        There are several files; the message names the entities in which they differ, the values
        and the files.
    """
    if len(group) < 2:
        return
    names = dict.fromkeys([*CHOOSABLE, *sorted({key for _, tags in group for key in tags})])
    values = {key: sorted({tags.get(key, "") for _, tags in group}) for key in names}
    differing = [key for key in names if len(values[key]) > 1]
    said = "; ".join(f"{key} ({_listed(values[key])})" for key in differing)
    options = [key for key in differing if key in CHOOSABLE]
    how = "Rename or remove all but one."
    if options:
        how = "Pass " + " or ".join(f"{key}= (--{key})" for key in options) + "."
    raise CohortError(
        f"{function}: each run of {root} must be one {what}, got several for {count} runs. Those "
        f"of the first differ in {said or 'no entity'}: {some([path for path, _ in group])}. {how}"
    )


def _has(tags: Mapping[str, str], key: str, wanted: str, values: list[str]) -> bool:
    own = tags.get(key, "")
    if wanted == _WITHOUT and _WITHOUT not in values:
        return own == ""
    # an index may be padded: echo-1 equals echo-01
    if own.isdecimal() and wanted.isdecimal():
        return int(own) == int(wanted)
    return own == wanted


def _listed(values: list[str]) -> str:
    return ", ".join(value or _WITHOUT for value in values)
