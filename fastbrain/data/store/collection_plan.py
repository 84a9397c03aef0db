"""Plan of a collection of stores with a voxel grid each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..readers.events import Trial
from ..readers.runs_table import RunRecord
from ..splits.split import Split
from .plan import StorePlan
from .stored_steps import StoredType
from .token_centers import brain_center

Array = npt.NDArray[np.float64]
_FAR_MM = 15.0  # between the centres of brains that are said to be in one space
_UNLIKE = 1.25  # ratio of voxel sizes from which a patch covers noticeably different tissue


@dataclass(frozen=True, eq=False)
class CollectionPlan:
    """Checked inputs and settings of a collection of stores, one for each person's grid.

    Parameters
    ----------
    members : dict of str to StorePlan
        By name of the grid, ``sub-01``; each holds its part of the split.
    trials : list of Trial
        Of all members.
    split : Split
    centred : bool
        Whether positions of tokens are counted from the centre of each brain.
    """

    members: dict[str, StorePlan]
    trials: list[Trial]
    split: Split
    centred: bool

    def stored_as(self, dtype: StoredType) -> CollectionPlan:
        """Return the plan with other stored integers."""
        return replace(
            self, members={name: plan.stored_as(dtype) for name, plan in self.members.items()}
        )

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """Runs of all members."""
        return tuple(run for plan in self.members.values() for run in plan.runs)

    @property
    def nbytes(self) -> int:
        """Size of the voxels on disk, bytes."""
        return sum(plan.nbytes for plan in self.members.values())

    def notes(self) -> list[str]:
        """Collect the notes on these grids together, and those of each member."""
        own = [f"{name}: {note}" for name, plan in self.members.items() for note in plan.notes()]
        return [*self.joint_notes(), *own]

    def joint_notes(self) -> list[str]:
        """Collect what is questionable about training one model on these grids together."""
        plans = list(self.members.items())
        sizes = {name: np.linalg.norm(plan.affine[:3, :3], axis=0) for name, plan in plans}
        centers = {name: brain_center(plan.grid, plan.affine) for name, plan in plans}
        first = plans[0][0]
        found = []
        unlike = [n for n in sizes if (_ratio(sizes[n], sizes[first]) > _UNLIKE).any()]
        if unlike:
            found.append(
                f"the voxels of {unlike[0]} have another size than those of {first}: a patch of "
                f"{plans[0][1].grid.kernel} voxels covers another extent of tissue there"
            )
        far = [n for n in centers if np.linalg.norm(centers[n] - centers[first]) > _FAR_MM]
        if far and not self.centred:
            apart = np.linalg.norm(centers[far[0]] - centers[first])
            found.append(
                f"the brains of {first} and {far[0]} lie {apart:.0f} mm apart: if their images are "
                "not in one space (MNI), pass --centred, so that positions count from each brain's "
                "centre"
            )
        return found

    def summary(self) -> dict[str, str]:
        """Summarise the plan for display before anything is written, one line per entry."""
        plans = list(self.members.values())
        first, split = plans[0], self.split
        runs = sum(len(plan.runs) for plan in plans)
        shared = ("windows", "smoothing", "high-pass", "it removes")
        lines = first.summary()
        joined = replace(
            first,
            headers=tuple(header for plan in plans for header in plan.headers),
            nuisance={name: own for plan in plans for name, own in plan.nuisance.items()},
        )
        grids = {
            name: f"(Z, Y, X) = {plan.grid.shape}, {plan.grid.n_tokens} patches of "
            f"{plan.grid.kernel}, {int(plan.grid.mask.sum())} voxels"
            for name, plan in self.members.items()
        }
        return {
            "runs": f"{runs} of {len(plans)} subjects, each on its own grid",
            "volumes": f"{sum(plan.n_volumes for plan in plans)} every {first.tr:g} s",
            "trials": f"{len(split.train)} train, {len(split.val)} val, {len(split.test)} test, "
            f"{split.unused} unused (guard {split.guard_trs} volumes)",
            **{name: lines[name] for name in shared if name in lines},
            **joined.denoised(),
            **grids,
            "positions": "from each brain's centre" if self.centred else "world coordinates",
            "stores": f"{self.nbytes / 1e6:.1f} MB, {first.dtype}, {first.units}",
        }


def _ratio(one: Array, other: Array) -> Array:
    return np.asarray(np.maximum(one / other, other / one))
