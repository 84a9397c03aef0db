"""Assign preprocessed images to the runs of the raw data set, by their names.

Indices may be padded (run-1 is run-01), and an entity that only one of the two names contains does
not matter as long as there is one best match: derivatives often leave out ``ses-`` of people with
one session, and ``run-`` where there is one run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import CohortError, some
from .derivatives import OF_A_RUN, Derived, one_sided
from .entities import agrees, conflicting, refuse_group
from .tree import Tree

_RAW = ("_events.tsv", "_bold.json", "_bold.nii.gz", "_bold.nii")
# entities that the images of one recording differ in
_OF_ONE_RECORDING = ("echo", "part")


@dataclass(frozen=True)
class RawRun:
    """A run of the raw data set.

    Parameters
    ----------
    image : Path
        Raw image, by name; it need not exist.
    tags : dict of str to str
        Entities in its name.
    """

    image: Path
    tags: dict[str, str]

    @property
    def name(self) -> str:
        """Name of the image without suffix, for messages."""
        return self.image.name.split("_bold.nii")[0]


@dataclass(frozen=True)
class Pairs:
    """Runs with their images, and what is left over.

    Parameters
    ----------
    runs : list of (RawRun, Derived)
    without_image : list of RawRun
    without_run : list of Derived
    """

    runs: list[tuple[RawRun, Derived]]
    without_image: list[RawRun]
    without_run: list[Derived]

    def describe(self) -> str:
        """List what is left over, for messages; "" if nothing is."""
        parts = []
        if self.without_image:
            names = some([run.name for run in self.without_image])
            parts.append(f"{len(self.without_image)} runs have no preprocessed image: {names}")
        if self.without_run:
            paths = some([image.path for image in self.without_run])
            parts.append(f"{len(self.without_run)} images have no run in the raw data: {paths}")
        return "; ".join(parts)


def raw_runs(tree: Tree, tasks: Iterable[str], chosen: Mapping[str, str]) -> list[RawRun]:
    """Find the runs of some tasks by their images, sidecars and events tables.

    Parameters
    ----------
    tree : Tree
    tasks : iterable of str
    chosen : mapping of str to str
        Runs with other values of these entities are left out.
    """
    tasks = set(tasks)
    found: dict[tuple[tuple[str, str], ...], RawRun] = {}
    for subject in tree.subjects():
        for path, tags in tree.recordings(subject):
            suffix = next((s for s in _RAW if path.name.endswith(s)), None)
            if suffix is None or path.parent.name != "func" or tags.get("task") not in tasks:
                continue
            if not agrees(tags, chosen):
                continue
            shared = {k: v for k, v in tags.items() if k not in _OF_ONE_RECORDING}
            known = found.get(tuple(shared.items()))
            # the name of an image or a sidecar finds the sidecars of all echoes
            if known is None or (suffix != "_events.tsv" and len(tags) > len(known.tags)):
                image = path.with_name(f"{path.name.removesuffix(suffix)}_bold.nii.gz")
                found[tuple(shared.items())] = RawRun(image, tags)
    return list(found.values())


def pair(raw: Sequence[RawRun], images: Sequence[Derived], *, where: Path) -> Pairs:
    """Assign images to runs.

    Parameters
    ----------
    raw : sequence of RawRun
    images : sequence of Derived
    where : Path
        Folder of the raw data, for messages.

    Raises
    ------
    CohortError
        An image fits several runs equally well, or a run has several images.
    """
    by_task: dict[tuple[str, str], list[int]] = {}
    for i, run in enumerate(raw):
        key = (run.tags.get("sub", ""), run.tags.get("task", ""))
        by_task.setdefault(key, []).append(i)
    of_run: dict[int, list[Derived]] = {}
    without_run = []
    for image in images:
        key = (image.tags.get("sub", ""), image.tags.get("task", ""))
        index = _best(image, raw, by_task.get(key, []), where)
        if index is None:
            without_run.append(image)
        else:
            of_run.setdefault(index, []).append(image)
    several = [group for group in of_run.values() if len(group) > 1]
    if several:
        refuse_group(
            where,
            [(image.path, image.tags) for image in several[0]],
            count=len(several),
            function="runs_from_bids",
            what="preprocessed image",
        )
    return Pairs(
        [(raw[index], group[0]) for index, group in of_run.items()],
        [run for i, run in enumerate(raw) if i not in of_run],
        without_run,
    )


def _best(
    image: Derived, raw: Sequence[RawRun], candidates: Sequence[int], where: Path
) -> int | None:
    fitting: dict[int, list[int]] = {}
    for index in candidates:
        tags = raw[index].tags
        if not conflicting(image.tags, tags, OF_A_RUN):
            fitting.setdefault(one_sided(image.tags, tags, OF_A_RUN), []).append(index)
    if not fitting:
        return None
    best = fitting[min(fitting)]
    if len(best) > 1:
        names = [raw[index].name for index in best]
        raise CohortError(
            f"runs_from_bids: {image.path} must be of one run of {where}, got {len(best)} that its "
            f"name fits: {some(names)}. Write a runs table that names the image of each."
        )
    return best[0]
