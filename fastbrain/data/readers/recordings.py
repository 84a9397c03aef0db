"""Open the recording of a run, whatever its kind: volumes, grayordinates, surfaces or parcels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..._arguments import checked
from ...errors import CohortError
from . import cifti, gifti, hdf5
from .parcel_series import parcels_of
from .parcel_tables import TABLES, load_parcel_dataset, load_parcel_table, positions_of
from .runs_table import RunRecord
from .series import Series
from .subcortex import with_subcortex
from .volumes import Volumes, load_volumes

SERIES = (*cifti.SUFFIXES, *gifti.SUFFIXES, *hdf5.SUFFIXES, *TABLES)


def is_series(path: Path) -> bool:
    """Return whether a file holds vertices, grayordinates or parcels, by its name."""
    return path.name.endswith(SERIES)


def files_of(bold: Path) -> tuple[Path, ...]:
    """Return the files of a recording: two for a pair of surfaces."""
    return gifti.pair_of(bold) if bold.name.endswith(gifti.SUFFIXES) else (bold,)


@checked
def open_recording(run: RunRecord) -> Volumes:
    """Open the recording of a run.

    Parameters
    ----------
    run : RunRecord
        Its `bold` is a NIfTI run, ``.dtseries.nii``, ``.ptseries.nii``, ``.func.gii`` of either
        hemisphere, or a table of parcels (``.tsv``, ``.npy``, or an array of an ``.h5``, named by
        `dataset`); `parcels` is an atlas that it is averaged in, or a table of names, or the atlas
        of an ``.h5``; `volume` and `subcortex` add subcortical voxels to a pair.

    Returns
    -------
    Volumes
        :class:`Series` of shape (T, 1, 1, V) for all but volumes.

    Raises
    ------
    VolumeError, CohortError, InputError
        The file cannot be read, or does not fit the atlas; the message names both.
    """
    bold, atlas = run.bold, run.parcels
    pair = bold.name.endswith(gifti.SUFFIXES)
    if (run.volume is None) != (run.subcortex is None) or (run.volume is not None and not pair):
        raise CohortError(
            f"load: {run.run_id} must name both volume and subcortex, for a pair of surfaces, or "
            f"neither, got {run.volume} and {run.subcortex} for {bold.name}."
        )
    if bold.name.endswith(hdf5.SUFFIXES):
        return load_parcel_dataset(bold, run.dataset, tr=run.tr, parcels=atlas)
    if run.dataset:
        raise CohortError(
            f"load: {run.run_id} must have no dataset, got {run.dataset!r} for {bold.name}. It "
            "names an array of an HDF5 file (.h5, .hdf5)."
        )
    table = atlas is not None and atlas.name.endswith(".tsv")
    if bold.name.endswith(TABLES):
        if atlas is not None and not table:
            raise CohortError(
                f"load: {bold} holds parcels already, got the atlas {atlas}. Give a table with the "
                "columns index and name, or nothing."
            )
        return load_parcel_table(bold, tr=run.tr, parcels=atlas)
    found: Volumes
    if bold.name.endswith(cifti.SUFFIXES):
        found = cifti.load_cifti(bold, tr=run.tr)
    elif bold.name.endswith(gifti.SUFFIXES):
        found = gifti.load_gifti(bold, tr=run.tr)
        if run.volume is not None and run.subcortex is not None:
            found = with_subcortex(found, load_volumes(run.volume, tr=run.tr), run.subcortex)
    else:
        found = load_volumes(bold, tr=run.tr)
    if atlas is None:
        return found
    if isinstance(found, Series) and found.locations.parcels and table:
        places = positions_of(atlas, found.locations.parcels)
        return replace(found, locations=replace(found.locations, centers_mm=places))
    return parcels_of(found, atlas, mask=run.mask)
