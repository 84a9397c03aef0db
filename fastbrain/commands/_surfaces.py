"""Options of stores on surfaces and of parcels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..data.readers.recordings import is_series
from ..data.readers.runs_table import RunRecord
from ..data.store.token_layouts import LayoutSpec
from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SurfaceOptions:
    """Tokens of runs on surfaces (.dtseries.nii, .func.gii) and of parcels."""

    surfaces: Annotated[tuple[Path, Path] | None, tyro.conf.arg(metavar="LEFT RIGHT")] = None
    """Left and right surface (.surf.gii) of runs on surfaces, or flat maps with --layout flat;
    default: fsaverage5 for its runs."""
    patch_size: int = 64
    """Vertices or voxels in a token of a surface, at most."""
    layout: Literal["mesh", "flat", "labels", "order"] = "mesh"
    """Tokens of surfaces: neighbourhoods on the mesh; squares on flat maps; within the regions of
    --parcels; or, weaker and without any surface, in the order of the file."""
    parcels: Path | None = None
    """Atlas that all runs are averaged in, one token a region: a label image (.nii.gz) for volumes,
    .dlabel.nii for grayordinates; or a table (index, name, x, y, z) for time courses of parcels."""

    def layout_spec(self, runs: Sequence[RunRecord]) -> LayoutSpec | None:
        """Return the layout of surfaces; None for volumes and for parcels.

        Raises
        ------
        ConfigError
            An option does not fit the runs.
        """
        given = [
            name
            for name, is_set in (
                ("surfaces", self.surfaces is not None),
                ("patch-size", self.patch_size != 64),
                ("layout", self.layout != "mesh"),
            )
            if is_set
        ]
        on_surface = any(
            run.bold.name.endswith((".dtseries.nii", ".func.gii")) and run.parcels is None
            for run in runs
        )
        if not on_surface:
            if given:
                raise ConfigError(
                    f"prepare: --{given[0]} must be left out for volumes and parcels. It is for "
                    "runs on surfaces (.dtseries.nii, .func.gii)."
                )
            return None
        if self.layout == "labels" and self.parcels is None:
            raise ConfigError("prepare: --layout labels must come with --parcels ATLAS.dlabel.nii.")
        return LayoutSpec(
            by=self.layout,
            patch=self.patch_size,
            surfaces=self.surfaces,
            labels=self.parcels if self.layout == "labels" else None,
        )

    def with_parcels(self, runs: Sequence[RunRecord]) -> tuple[RunRecord, ...]:
        """Return the runs with the atlas that they are averaged in.

        Raises
        ------
        ConfigError
            A run names another one.
        """
        if self.parcels is None or self.layout == "labels":
            return tuple(runs)
        own = [run.run_id for run in runs if run.parcels not in (None, self.parcels)]
        if own:
            raise ConfigError(
                f"prepare: --parcels must be left out where the runs table names them, got both "
                f"for {own[0]}."
            )
        return tuple(replace(run, parcels=self.parcels) for run in runs)


def no_volumes(runs: Sequence[RunRecord]) -> bool:
    """Return whether the options of volumes (patch, mask, smoothing, grid) do not apply."""
    return any(is_series(run.bold) or run.parcels is not None for run in runs)
