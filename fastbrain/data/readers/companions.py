"""Find the files that belong to an image of a BIDS tree: events, confounds, mask."""

from __future__ import annotations

from pathlib import Path

from ...errors import CohortError, some
from .tree import Tree
from .unfetched import refuse_unfetched

# entities that preprocessing adds to the name of the raw image
DERIVED = ("space", "desc", "res", "den", "hemi")
# entities of the voxel grid: a mask belongs to the images with the same values
GRID = ("space", "res", "den")
_CONFOUNDS = ("_timeseries.tsv", "_regressors.tsv")  # fMRIPrep from 20.2 on, and before


def nearest_events(tree: Tree, bold: Path, tags: dict[str, str]) -> Path | None:
    """Find the events table of a run; None if there is none."""
    return _nearest(tree, bold, _source(tags), "_events.tsv")


def confounds_of(tree: Tree, bold: Path, tags: dict[str, str]) -> Path | None:
    """Find the confounds table of a preprocessed run; None if there is none."""
    for suffix in _CONFOUNDS:
        found = _nearest(tree, bold, _source(tags), suffix, desc="confounds")
        if found is not None:
            return found
    return None


def mask_of(tree: Tree, bold: Path, tags: dict[str, str]) -> Path | None:
    """Find the brain mask in the folder of the image, else ``mask.nii.gz`` in the root."""
    grid = {key: tags.get(key) for key in GRID}
    fitting = []
    for path, own in tree.files(bold.parent):
        if not path.name.endswith(("_desc-brain_mask.nii", "_desc-brain_mask.nii.gz")):
            continue
        own = {k: v for k, v in own.items() if k != "desc"}
        if {key: own.get(key) for key in GRID} == grid and own.items() <= tags.items():
            fitting.append((len(own), path))
    shared = tree.root / "mask.nii.gz"
    found = max(fitting)[1] if fitting else shared
    if not fitting and not (shared.is_file() or shared.is_symlink()):
        return None
    refuse_unfetched(found)
    return tree.check(found)


def _source(tags: dict[str, str]) -> dict[str, str]:
    return {k: v for k, v in tags.items() if k not in DERIVED}


def _nearest(
    tree: Tree, bold: Path, tags: dict[str, str], suffix: str, *, desc: str | None = None
) -> Path | None:
    """Find the nearest file with `suffix` upwards from `bold` with a subset of its entities."""
    for folder in tree.up(bold):
        fitting = [
            (len(own), path)
            for path, named in tree.files(folder)
            if path.name.endswith(suffix) and named.get("desc") == desc
            for own in [{k: v for k, v in named.items() if k != "desc"}]
            if own.items() <= tags.items()
        ]
        if fitting:
            most = max(count for count, _ in fitting)
            best = [path for count, path in fitting if count == most]
            if len(best) > 1:
                raise CohortError(
                    f"runs_from_bids: {bold} must have one *{suffix}, got {some(best)}. Remove or "
                    "rename the wrong one."
                )
            return tree.check(best[0])
    return None
