"""BIDS names of runs on surfaces.

They are looked for on request, by the space of a surface, so that they do not compete with the
volumes beside them. The left file stands for both hemispheres.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from .entities import Image

_SURFACES = ("_bold.dtseries.nii", "_bold.func.gii")
_SPACES = re.compile(r"fs(LR|average\d?|native)")


def on_surface(tags: Mapping[str, str]) -> bool:
    """Return whether the space among some entities is that of a surface: fsLR, fsaverage5."""
    return _SPACES.fullmatch(tags.get("space", "")) is not None


def images_in(
    wanted: Mapping[str, str],
    of_volumes: tuple[str, ...],
    ending: Callable[[tuple[str, ...]], list[Image]],
) -> list[Image]:
    """Find the images of runs in the wanted space.

    Parameters
    ----------
    wanted : mapping of str to str
        Chosen entities.
    of_volumes : tuple of str
        Ends of the names of volumes.
    ending : callable
        Lists the images with one of some ends of the name.

    Returns
    -------
    list of Image
        Surfaces if a space of surfaces is wanted and there are any, without right hemispheres
        (found by the names of the left ones); else volumes.
    """
    found = ending(_SURFACES) if on_surface(wanted) else []
    return [image for image in found if image[1].get("hemi") != "R"] or ending(of_volumes)


def surfaces_among(files: Iterable[Image]) -> str:
    """Say how to choose the runs on surfaces among the files of a tree; "" if there are none."""
    spaces = {tags.get("space", "") for path, tags in files if path.name.endswith(_SURFACES)}
    found = sorted(space for space in spaces if on_surface({"space": space}))
    return f" There are runs on surfaces: choose them by --space ({', '.join(found)})." * bool(
        found
    )
