"""Preprocessed images of a BIDS data set, and their masks and confounds.

Names of fMRIPrep and XCP-D are known: ``*_desc-preproc_bold.nii.gz``, ``*_desc-brain_mask.nii.gz``,
``*_desc-confounds_timeseries.tsv``, and those of versions before 1.2 of fMRIPrep,
``*_bold_space-X_preproc.nii.gz``, ``*_bold_space-X_brainmask.nii.gz``, ``*_bold_confounds.tsv``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import CohortError, some
from .companions import GRID
from .entities import Image, choose, conflicting, refuse_misplaced
from .surface_names import images_in, surfaces_among
from .tree import Tree

_BOLD = ("_bold.nii.gz", "_bold.nii", "_preproc.nii.gz", "_preproc.nii")
_MASK = ("_desc-brain_mask.nii.gz", "_desc-brain_mask.nii", "_brainmask.nii.gz", "_brainmask.nii")
_CONFOUNDS = (
    "_desc-confounds_timeseries.tsv", "_desc-confounds_regressors.tsv", "_bold_confounds.tsv",
)  # fmt: skip
# entities of a recording, apart from subject and task
OF_A_RUN = ("ses", "run", "acq", "ce", "rec", "dir", "chunk")
_OF_AN_IMAGE = (*OF_A_RUN, "echo", "part")


@dataclass(frozen=True)
class Derived:
    """A preprocessed image.

    Parameters
    ----------
    tree : Tree
        Derivatives that it belongs to.
    path : Path
    tags : dict of str to str
        Entities in its name.
    """

    tree: Tree
    path: Path
    tags: dict[str, str]


def open_derivatives(
    root: Path, names: str | Path | Sequence[str | Path], *, allow_outside: bool
) -> list[Tree]:
    """Open folders of derivatives.

    Parameters
    ----------
    root : Path
        BIDS folder of the raw data.
    names : str, Path or sequence of them
        Names of folders in ``root/derivatives``, or paths; in a text, separated by commas.
    allow_outside : bool
        Whether their files may be links that lead out of them.

    Raises
    ------
    CohortError
        A folder does not exist; the message lists those in ``root/derivatives``.
    """
    given = names.split(",") if isinstance(names, str) else names
    given = [given] if isinstance(given, Path) else list(given)
    if not given:
        raise CohortError(
            "runs_from_bids: derivatives must name a folder, got none. Write for example fmriprep."
        )
    trees = []
    for name in given:
        folder = Path(name)
        within = root / "derivatives" / folder
        if len(folder.parts) == 1 and within.is_dir():
            folder = within
        elif not str(name).strip() or not folder.is_dir():
            there = [f.name for f in Tree(root / "derivatives").folders(root / "derivatives")]
            raise CohortError(
                f"runs_from_bids: derivatives must be a folder in {root / 'derivatives'} or a "
                f"path, got {str(name)!r}. Folders there: {some(there) or 'none'}."
            )
        trees.append(Tree(folder, allow_outside=allow_outside))
    return trees


def find_images(trees: Sequence[Tree], chosen: Mapping[str, str]) -> list[Derived]:
    """Find the preprocessed images with the chosen entities.

    Parameters
    ----------
    trees : sequence of Tree
    chosen : mapping of str to str
        From :func:`fastbrain.data.readers.entities.check_choice`.

    Raises
    ------
    CohortError
        There is none, several tasks or spaces are found and none was chosen, or an image lies in
        the folder of another subject or session.
    """
    tree_of: dict[Path, Tree] = {}

    def ending(suffixes: tuple[str, ...]) -> list[Image]:
        images: list[Image] = []
        for tree in trees:
            for subject in tree.subjects():
                found = tree.recordings_ending(subject, suffixes)
                tree_of.update(dict.fromkeys((path for path, _ in found), tree))
                images += found
        return images

    images = images_in(chosen, _BOLD, ending)
    if not images:
        raise _without_images(trees)
    where = Path(",".join(str(tree.root) for tree in trees))
    kept = choose(where, images, chosen, single=("task", "space"), function="runs_from_bids")
    for path, tags in kept:
        refuse_misplaced(tree_of[path].root, path, tags)
    return [Derived(tree_of[path], path, tags) for path, tags in kept]


def mask_in(trees: Sequence[Tree], image: Derived) -> Path | None:
    """Find the brain mask of an image: in its own derivatives, else in the others.

    A mask on the voxel grid of the image, of the same recording, or ``mask.nii.gz`` in the root.

    Raises
    ------
    CohortError
        Several masks fit equally well, or it leads out of its folder.
    """
    grid = {key: image.tags.get(key) for key in GRID}
    for tree in _ordered(trees, image):
        fitting = [
            (path, tags)
            for path, tags in tree.recordings_ending(_subject(image), _MASK)
            if {key: tags.get(key) for key in GRID} == grid
        ]
        found = _best(image, fitting, what="mask")
        if found is not None:
            return tree.check(found)
    shared = image.tree.root / "mask.nii.gz"
    return image.tree.check(shared) if shared.is_file() or shared.is_symlink() else None


def confounds_in(trees: Sequence[Tree], image: Derived) -> Path | None:
    """Find the confounds of an image: in its own derivatives, else in the others.

    Raises
    ------
    CohortError
        Several tables fit equally well, or it leads out of its folder.
    """
    for tree in _ordered(trees, image):
        for suffix in _CONFOUNDS:
            fitting = tree.recordings_ending(_subject(image), (suffix,))
            found = _best(image, fitting, what="table of confounds")
            if found is not None:
                return tree.check(found)
    return None


def one_sided(one: Mapping[str, str], other: Mapping[str, str], keys: Sequence[str]) -> int:
    """Count the entities of `keys` that only one of two names contains."""
    return sum((key in one) != (key in other) for key in keys)


def _subject(image: Derived) -> str:
    return f"sub-{image.tags.get('sub', '')}"


def _ordered(trees: Sequence[Tree], image: Derived) -> list[Tree]:
    return [image.tree, *(tree for tree in trees if tree is not image.tree)]


def _best(image: Derived, files: Sequence[Image], *, what: str) -> Path | None:
    """Return the file of the same recording with the fewest entities that only one name has."""
    fitting: dict[int, list[Path]] = {}
    for path, tags in files:
        if tags.get("task") != image.tags.get("task"):
            continue
        if not conflicting(tags, image.tags, _OF_AN_IMAGE):
            count = one_sided(tags, image.tags, _OF_AN_IMAGE)
            fitting.setdefault(count, []).append(path)
    if not fitting:
        return None
    best = fitting[min(fitting)]
    if len(best) > 1:
        raise CohortError(
            f"runs_from_bids: {image.path} must have one {what}, got {some(best)}. Remove or "
            "rename the wrong one."
        )
    return best[0]


def _without_images(trees: Sequence[Tree]) -> CohortError:
    files = [image for t in trees for s in t.subjects() for image in t.recordings(s)]
    where = " and ".join(str(tree.root) for tree in trees)
    tables = sum(path.name.endswith(_CONFOUNDS) for path, _ in files)
    sidecars = sum(path.name.endswith("_bold.json") for path, _ in files)
    people = sum(len(tree.subjects()) for tree in trees)
    return CohortError(
        f"runs_from_bids: {where} must hold sub-*/[ses-*/][func/]*_bold.nii[.gz], got none "
        f"({people} folders sub-*, {tables} tables of confounds, {sidecars} sidecars). Are the "
        f"images downloaded, and is it the folder of the derivatives?{surfaces_among(files)}"
    )
