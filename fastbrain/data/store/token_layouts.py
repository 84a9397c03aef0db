"""Token layouts of surfaces and parcels: which locations a token covers, and where it lies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import CohortError, InputError, MissingPartError, VolumeError
from ...layout import TokenLayout
from ..readers.gifti import read_mesh
from ..readers.locations import Locations, Structure
from ..readers.parcel_series import labels_at
from .flat_maps import FlatCortex
from .neighborhoods import patches_of, surface_graph, voxel_graph

By = Literal["mesh", "flat", "labels", "order"]
Points = npt.NDArray[np.float64]
Mesh = tuple[Points, npt.NDArray[np.int64]]
_SPACING_MM = 8.0  # between tokens without an anatomical position
_FSAVERAGE5 = 10242
_SIDES = {"CORTEX_LEFT": "left", "CORTEX_RIGHT": "right"}
_WHERE = (
    "Give the surfaces of both hemispheres (--surfaces LEFT.surf.gii RIGHT.surf.gii): fMRIPrep and "
    "HCP write *_midthickness.surf.gii; TemplateFlow has tpl-fsLR_den-32k_hemi-L_midthickness and "
    "fsaverage; of --layout flat, HCP has *.flat.32k_fs_LR.surf.gii. Without surfaces, --layout "
    "labels --parcels ATLAS.dlabel.nii or, weaker, --layout order."
)


@checked(least={"patch": 1})
@dataclass(frozen=True)
class LayoutSpec:
    """How the locations of surfaces are grouped into tokens.

    Parameters
    ----------
    by : {"mesh", "flat", "labels", "order"}
        ``"mesh"``: connected neighbourhoods on the surfaces, and of subcortical voxels that share
        faces. ``"flat"``: squares on flat maps of the surfaces, and subcortical voxels as for
        ``"mesh"``; vertices without a place on the maps are in no token. ``"labels"``: within the
        regions of `labels`, in the order of the file. ``"order"``: in the order of the file, within
        each structure; neighbours in it need not be neighbours in the brain.
    patch : int
        Largest number of vertices or voxels in a token.
    surfaces : tuple of two paths, optional
        Left and right surface (``.surf.gii``) for ``"mesh"``, or flat maps for ``"flat"``;
        fsaverage5 is found without.
    labels : str or Path, optional
        ``.dlabel.nii`` for ``"labels"``.

    Raises
    ------
    InputError
        `labels` is missing, or is given for another layout.
    """

    by: By = "mesh"
    patch: int = 64
    surfaces: tuple[str | Path, str | Path] | None = None
    labels: str | Path | None = None

    def __post_init__(self) -> None:
        if (self.by == "labels") != (self.labels is not None):
            raise InputError(
                f"LayoutSpec: labels must be given for by='labels' and no other, got by={self.by!r}"
                f" and labels={self.labels}."
            )
        wanted = self.by in ("mesh", "flat")
        if self.surfaces is not None and (not wanted or len(self.surfaces) != 2):
            raise InputError(
                "LayoutSpec: surfaces must be a left and a right one, for by='mesh' or 'flat', got "
                f"{self.surfaces} for by={self.by!r}."
            )


def build_layout(
    locations: Locations, spec: LayoutSpec, *, valid: npt.NDArray[np.bool_] | None = None
) -> TokenLayout:
    """Group locations into tokens.

    Parameters
    ----------
    locations : Locations
    spec : LayoutSpec
        Not used for parcels, each of which is a token.
    valid : ndarray, (V,) bool, optional
        Locations with data; the others are in no token.

    Returns
    -------
    TokenLayout

    Raises
    ------
    CohortError
        A surface is missing or does not fit.
    VolumeError
        A surface or label file cannot be read, or no location is left.
    """
    if valid is None:
        valid = np.ones(len(locations), dtype=bool)
    if not valid.any():
        raise VolumeError("layout: the runs must share a location with a signal, got none.")
    if locations.parcels:
        return _of_parcels(locations, valid)
    labels = None
    if spec.labels is not None:
        labels, _ = labels_at(locations, Path(spec.labels))
    meshes = _meshes(locations, spec) if spec.by == "mesh" else {}
    flat = _flat_cortex(locations, spec) if spec.by == "flat" else None
    patches: list[npt.NDArray[np.int64]] = []
    centers, names, start = [], [], 0
    for structure in locations.structures:
        inside = np.flatnonzero(valid[start : start + len(structure)])
        own = None if labels is None else labels[start : start + len(structure)]
        for members in _patches(structure, inside, spec, own, meshes, flat):
            patches.append(members + start)
            centers.append(
                _center(structure, members, meshes)
                if flat is None
                else flat.center(structure, members)
            )
            names.append(structure.name)
        start += len(structure)
    if not patches:
        raise VolumeError(
            "layout: a location with a signal must have a label or a place on the flat maps, got "
            "none that has."
        )
    width = max(map(len, patches))
    offsets = np.full((len(patches), width), -1, dtype=np.int64)
    for row, members in zip(offsets, patches, strict=True):
        row[: len(members)] = members
    placed = all(center is not None for center in centers)
    return TokenLayout(
        offsets,
        np.array(centers) if placed else _places(len(offsets)),
        locations=len(locations),
        geometry="surface",
        names=names,
        space=locations.digest,
        positions="order" if not placed else "flat" if flat is not None else "anatomical",
    )


def _of_parcels(locations: Locations, valid: npt.NDArray[np.bool_]) -> TokenLayout:
    if not valid.all():
        raise VolumeError("layout: every parcel must have a signal, got some without.")
    known, count = locations.centers_mm, len(locations)
    placed = known is not None and bool(np.isfinite(known).all())
    return TokenLayout(
        np.arange(count, dtype=np.int64)[:, None],
        known if known is not None and placed else _places(count),
        locations=count,
        geometry="parcels",
        names=locations.parcels,
        space=locations.digest,
        positions="anatomical" if placed else "order",
    )


def _places(count: int) -> Points:
    """Place tokens without an anatomical position on a cube, so that they differ."""
    side = math.ceil(count ** (1 / 3))
    sites = np.stack(np.unravel_index(np.arange(count), (side + 1,) * 3), axis=1)
    return (sites - side / 2) * _SPACING_MM


def _patches(
    structure: Structure,
    inside: npt.NDArray[np.int64],
    spec: LayoutSpec,
    labels: npt.NDArray[np.int64] | None,
    meshes: dict[str, Mesh],
    flat: FlatCortex | None,
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the locations of each token of a structure, counted within the structure."""
    if not inside.size:
        return
    if flat is not None and structure.vertices is not None:
        yield from flat.squares(structure, inside)
        return
    if spec.by in ("mesh", "flat"):
        if structure.vertices is not None:
            graph = surface_graph(*meshes[structure.name], structure.vertices[inside])
        else:
            assert structure.voxels is not None
            assert structure.affine is not None
            graph = voxel_graph(structure.voxels[inside], structure.affine)
        for members in patches_of(graph, spec.patch):
            yield inside[members]
        return
    groups = [inside]
    if labels is not None:
        groups = [inside[labels[inside] == k] for k in np.unique(labels[inside]) if k]
    for group in groups:
        # sizes that differ by one at most
        yield from np.array_split(group, -(-len(group) // spec.patch))


def _center(
    structure: Structure, members: npt.NDArray[np.int64], meshes: dict[str, Mesh]
) -> Points | None:
    if structure.voxels is not None and structure.affine is not None:
        middle = structure.voxels[members].mean(axis=0)
        return np.asarray(structure.affine[:3, :3] @ middle + structure.affine[:3, 3])
    if structure.name not in meshes or structure.vertices is None:
        return None
    return np.asarray(meshes[structure.name][0][structure.vertices[members]].mean(axis=0))


def _meshes(locations: Locations, spec: LayoutSpec) -> dict[str, Mesh]:
    """Read the surfaces of the cortical structures, by name."""
    cortex = [s for s in locations.structures if s.vertices is not None]
    if not cortex:
        return {}
    if spec.surfaces is not None:
        files = dict(zip(_SIDES, spec.surfaces, strict=True))
        meshes = {name: read_mesh(file) for name, file in files.items()}
        middle = {name: float(mesh[0][:, 0].mean()) for name, mesh in meshes.items()}
        if middle["CORTEX_LEFT"] > middle["CORTEX_RIGHT"]:
            raise CohortError(
                f"layout: surfaces must be the left and then the right one, got {files} the other "
                "way round."
            )
    else:
        _refuse_unknown(locations, cortex)
        meshes = _fsaverage5()
    _check_vertices(cortex, {name: len(mesh[0]) for name, mesh in meshes.items()})
    return meshes


def _flat_cortex(locations: Locations, spec: LayoutSpec) -> FlatCortex:
    """Read the flat maps of the cortical structures."""
    cortex = [s for s in locations.structures if s.vertices is not None]
    if not cortex:
        raise CohortError(
            f"layout: flat maps are for runs with vertices of the cortex, got "
            f"{locations.describe()}. Take another layout (--layout mesh)."
        )
    if spec.surfaces is not None:
        files = {name: Path(p) for name, p in zip(_SIDES, spec.surfaces, strict=True)}
    else:
        _refuse_unknown(locations, cortex)
        folder = _fsaverage5_folder()
        files = {name: folder / f"flat_{side}.gii.gz" for name, side in _SIDES.items()}
    flat = FlatCortex.read(files, spec.patch)
    _check_vertices(cortex, {name: len(places) for name, places in flat.places.items()})
    return flat


def _refuse_unknown(locations: Locations, cortex: Sequence[Structure]) -> None:
    """Raise unless the runs are on fsaverage5, of which the surfaces are installed."""
    if not all(s.n_vertices == _FSAVERAGE5 for s in cortex):
        raise CohortError(
            f"layout: tokens are neighbourhoods on surfaces, got none for {locations.describe()}. "
            + _WHERE
        )


def _check_vertices(cortex: Sequence[Structure], counts: Mapping[str, int]) -> None:
    for structure in cortex:
        if structure.name not in counts:
            raise CohortError(
                f"layout: surfaces must be those of {structure.name}, got {sorted(counts)}."
            )
        if counts[structure.name] != structure.n_vertices:
            raise CohortError(
                f"layout: the surface of {structure.name} must have the {structure.n_vertices} "
                f"vertices of the runs, got {counts[structure.name]}. {_WHERE}"
            )


def _fsaverage5() -> dict[str, Mesh]:
    """Read fsaverage5 halfway between white matter and pia from the files that nilearn installs."""
    folder = _fsaverage5_folder()
    meshes = {}
    for name, side in _SIDES.items():
        white, triangles = read_mesh(folder / f"white_{side}.gii.gz")
        pial, _ = read_mesh(folder / f"pial_{side}.gii.gz")
        meshes[name] = ((white + pial) / 2, triangles)
    return meshes


def _fsaverage5_folder() -> Path:
    try:
        import nilearn.datasets
    except ImportError as error:
        raise MissingPartError(
            "layout: the surface of fsaverage5 is installed with nilearn. pip install "
            "'fastbrain-fmri[demo]', or give --surfaces."
        ) from error
    return Path(nilearn.datasets.__file__).parent / "data" / "fsaverage5"
