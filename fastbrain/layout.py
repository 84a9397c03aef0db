"""Token layout of data that lie on no lattice: surface vertices, grayordinates, parcels.

A volume of such data is one row of V locations, indexed ``[1, 1, V]``. The patches are lists of
locations of one length P, padded with -1; everything else is that of a :class:`TokenGrid`, so that
store, loader and tokenizer need no second path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ._arguments import checked
from .errors import InputError
from .grid import MOST_VOXELS, TokenGrid, Triple

Geometry = Literal["surface", "parcels"]
Positions = Literal["anatomical", "flat", "order"]
_MOST_MM = 1e4


class TokenLayout(TokenGrid):
    """Patches of locations that are listed one by one.

    Parameters
    ----------
    offsets : ndarray, (n_tokens, P) int64
        Location of every patch element; -1 pads patches with fewer than P locations.
    centers_mm : ndarray, (n_tokens, 3) float64
        Position (x, y, z) of every token, mm.
    locations : int
        Number of locations V in a volume.
    geometry : str
        ``"surface"``: vertices and subcortical voxels; ``"parcels"``: regions.
    names : sequence of str
        Structure (``CORTEX_LEFT``) or parcel of every token.
    space : str
        Identity of the locations, equal for recordings of which location i is the same place.
    positions : {"anatomical", "flat", "order"}
        What `centers_mm` are: positions in the brain; on flat maps of the cortex, the left one
        beside the right one; or places that only tell the tokens apart.

    Raises
    ------
    InputError
        The arrays are inconsistent, a location lies in two patches, a patch is empty, or all
        patches hold more than 2^28 locations in total.
    """

    centers_mm: npt.NDArray[np.float64]
    names: tuple[str, ...]
    space: str
    positions: Positions

    @checked
    def __init__(
        self,
        offsets: npt.NDArray[np.int64],
        centers_mm: npt.NDArray[np.float64],
        *,
        locations: int,
        geometry: Geometry,
        names: Sequence[str],
        space: str = "",
        positions: Positions = "anatomical",
    ) -> None:
        offsets = np.array(offsets, dtype=np.int64, order="C")
        centers = np.array(centers_mm, dtype=np.float64, order="C")
        _check(offsets, centers, locations, names)
        for name, value, known in (
            ("geometry", geometry, get_args(Geometry)),
            ("positions", positions, get_args(Positions)),
        ):
            if value not in known:
                raise InputError(f"TokenLayout: {name} must be one of {known}, got {value!r}.")
        mask = np.zeros((1, 1, locations), dtype=bool)
        mask[0, 0, offsets[offsets >= 0]] = True
        # the CPU kernel has fast paths for rows of 4, 8 and 16 elements
        width = next(w for w in (8, 4, 2, 1) if offsets.shape[1] % w == 0)
        kernel = (offsets.shape[1] // width, 1, width)
        kept = np.arange(len(offsets), dtype=np.int64)
        for array in (centers, mask, kept):
            array.flags.writeable = False
        self.__dict__.update(
            mask=mask,
            kernel=kernel,
            stride=kernel,
            kept=kept,
            offsets=offsets,
            centers_mm=centers,
            _geometry=geometry,
            names=tuple(names),
            space=space,
            positions=positions,
        )

    @property
    def geometry(self) -> Geometry:
        """Kind of the locations."""
        found: Geometry = self.__dict__["_geometry"]
        return found

    @property
    def lattice(self) -> Triple:
        """The tokens in a row, (n_tokens, 1, 1)."""
        return (self.n_tokens, 1, 1)

    @property
    def patch_words(self) -> str:
        """Size of a patch in words."""
        if self.geometry == "parcels":
            return "1 parcel"
        return f"up to {self.patch_voxels} vertices or voxels"

    @property
    def location_words(self) -> str:
        """What the locations are, in words."""
        return "parcels" if self.geometry == "parcels" else "vertices and voxels"

    def centers(self, affine: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the positions of the tokens, (n_tokens, 3) float64, mm; `affine` is not used."""
        return self.centers_mm.copy()

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(self.about().tobytes())
        for array in (self.offsets, self.centers_mm):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def about(self) -> npt.NDArray[np.uint8]:
        """Return everything but the arrays as JSON text, (n,) uint8, for files of arrays."""
        facts = {
            "geometry": self.geometry,
            "locations": int(self.mask.size),
            "names": list(self.names),
            "space": self.space,
            "positions": self.positions,
        }
        return np.frombuffer(json.dumps(facts, sort_keys=True).encode(), dtype=np.uint8)

    @classmethod
    def from_arrays(
        cls,
        offsets: npt.NDArray[Any],
        centers_mm: npt.NDArray[Any],
        about: npt.NDArray[Any],
    ) -> TokenLayout:
        """Make a layout from its arrays in a file; the inverse of :meth:`about`.

        Raises
        ------
        InputError
            The arrays are not those of a layout.
        """
        try:
            facts = json.loads(np.asarray(about, dtype=np.uint8).tobytes())
            return cls(offsets, centers_mm, **facts)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"TokenLayout: arrays must be those of a layout, got '{error!s:.200}'. Prepare the "
                "store again."
            ) from error


def _check(
    offsets: npt.NDArray[np.int64],
    centers: npt.NDArray[np.float64],
    locations: int,
    names: Sequence[str],
) -> None:
    count = len(offsets)
    if offsets.ndim != 2 or not offsets.size or centers.shape != (count, 3) or len(names) != count:
        raise InputError(
            "TokenLayout: offsets must be (n_tokens, P), with a centre and a name for each token, "
            f"got {offsets.shape}, {centers.shape} and {len(names)} names."
        )
    if offsets.size > MOST_VOXELS or not 1 <= locations <= MOST_VOXELS:
        raise InputError(
            f"TokenLayout: patches must hold at most {MOST_VOXELS} of 1 to {MOST_VOXELS} locations "
            f"in all, got {offsets.size} of {locations}. Choose smaller patches."
        )
    used = offsets[offsets >= 0]
    if offsets.min() < -1 or offsets.max() >= locations or np.bincount(used).max(initial=0) > 1:
        raise InputError(
            f"TokenLayout: offsets must name each of {locations} locations once at most, or be -1, "
            f"got values from {offsets.min()} to {offsets.max()} and {used.size} in all."
        )
    if not (offsets >= 0).any(axis=1).all():
        raise InputError("TokenLayout: every patch must hold a location, got an empty one.")
    if not (np.abs(centers) < _MOST_MM).all():
        raise InputError("TokenLayout: centers_mm must be finite and below 10 m, got others.")
