"""Token grid: the lattice of patches shared by the voxel store and the tokenizer.

Volumes are indexed ``[Z, Y, X]`` with x fastest, which is the memory order of NIfTI. A *site* is
one position of the kernel on the lattice, a *token* is a site that is kept because it contains
brain voxels, and its *patch* is the kernel-sized block of voxels at the site.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ._arguments import checked
from ._arrays import brain_of, ending_in
from .errors import InputError

Triple = tuple[int, int, int]
MOST_VOXELS = 1 << 28  # of all patches, 2 GiB of offsets; the MNI box at 2 mm has 902,629


@checked
@dataclass(eq=False)
class TokenGrid:
    """Kept patches of a masked volume.

    Parameters
    ----------
    mask : ndarray, (Z, Y, X) bool
        Voxels that count as brain.
    kernel, stride : tuple of 3 int
        Patch size and step in voxels, in (z, y, x) order; ``kernel >= stride``.
    kept : ndarray, (n_tokens,) int64
        Flat index of every kept site in the lattice, ascending.

    Raises
    ------
    InputError
        The arrays or sizes are inconsistent, or all patches hold more than 2^28 voxels in total.
    """

    mask: npt.NDArray[np.bool_]
    kernel: Triple
    stride: Triple
    kept: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        # copies: the arrays of the caller may change, those of the grid must not
        own = {"mask": np.array(self.mask, order="C"), "kept": np.array(self.kept, dtype=np.int64)}
        for array in own.values():
            array.flags.writeable = False
        sizes = {name: _triple(name, getattr(self, name)) for name in ("kernel", "stride")}
        self.__dict__.update(own | sizes)
        if self.mask.ndim != 3 or not self.mask.any():
            raise InputError(
                "TokenGrid: mask must be (Z, Y, X) and hold at least one voxel, got "
                f"{self.mask.shape} with {int(self.mask.sum())}. Is it the right mask?"
            )
        if any(k < s for k, s in zip(self.kernel, self.stride, strict=True)):
            raise InputError(
                f"TokenGrid: kernel must be >= stride, got {self.kernel} and {self.stride}: voxels "
                "between patches would be dropped."
            )
        sites = math.prod(self.lattice)
        if self.kept.ndim != 1 or not self.kept.size or not _ascend(self.kept, below=sites):
            raise InputError(
                f"TokenGrid: kept must be (n_tokens,) sites below {sites}, ascending, got "
                f"{self.kept.shape}. Use TokenGrid.from_mask."
            )
        if self.n_tokens * self.patch_voxels > MOST_VOXELS:
            raise InputError(
                f"TokenGrid: kernel and stride must give patches of at most {MOST_VOXELS} voxels "
                f"in all, got {self.n_tokens} patches of {self.kernel} voxels. Choose a smaller "
                "kernel or a larger stride."
            )

    @classmethod
    @checked
    def from_mask(
        cls,
        mask: npt.ArrayLike,
        kernel: Triple,
        stride: Triple | None = None,
        *,
        min_voxels: int = 1,
    ) -> TokenGrid:
        """Make a grid of the sites with at least `min_voxels` brain voxels in their patch.

        Parameters
        ----------
        mask : array_like, (Z, Y, X) bool
        kernel : tuple of 3 int
        stride : tuple of 3 int, optional
            Default: the kernel (patches do not overlap; the fast path).
        min_voxels : int

        Raises
        ------
        InputError
            The mask is not 3-D, empty, or holds fractions or negative values, the kernel is smaller
            than the stride, or the patches would hold more than 2^28 voxels in total.
        """
        mask = brain_of(np.asanyarray(mask), where="TokenGrid: mask", error=InputError)
        if mask.ndim != 3:
            raise InputError(f"TokenGrid: mask must be (Z, Y, X), got shape {mask.shape}.")
        kernel, stride = _triple("kernel", kernel), _triple("stride", stride or kernel)
        sites = math.prod(_lattice(mask, kernel, stride))
        everywhere = cls(mask, kernel, stride, np.arange(sites))
        counts = (everywhere.offsets >= 0).sum(axis=1)
        kept = np.flatnonzero(counts >= max(1, min_voxels)).astype(np.int64)
        if kept.size == 0:
            raise InputError(
                f"TokenGrid: min_voxels must leave a token, got {min_voxels} with at most "
                f"{counts.max()} brain voxels in a patch."
            )
        return cls(mask, kernel, stride, kept)

    @property
    def shape(self) -> Triple:
        """Volume size (Z, Y, X) in voxels."""
        return self.mask.shape

    @property
    def lattice(self) -> Triple:
        """Number of sites along (z, y, x); the last patch may extend beyond the volume."""
        return _lattice(self.mask, self.kernel, self.stride)

    @property
    def n_tokens(self) -> int:
        """Number of kept patches."""
        return int(self.kept.size)

    @property
    def patch_voxels(self) -> int:
        """Number of voxels in a patch, kz·ky·kx."""
        # plain integers: torch.compile treats results of NumPy as data, not as constants
        return math.prod(self.kernel)

    @property
    def geometry(self) -> str:
        """``"volume"``: the tokens lie on a lattice of voxels."""
        return "volume"

    @property
    def patch_words(self) -> str:
        """Size of a patch in words, z y x."""
        return f"{'×'.join(map(str, self.kernel))} voxels"

    @property
    def location_words(self) -> str:
        """Kind of the locations, in words."""
        return "voxels"

    @property
    def overlapping(self) -> bool:
        """Whether neighbouring patches share voxels (kernel > stride)."""
        return self.kernel != self.stride

    @cached_property
    def coords(self) -> npt.NDArray[np.int64]:
        """Lattice position (z, y, x) of each token, (n_tokens, 3)."""
        return np.stack(np.unravel_index(self.kept, self.lattice), axis=1).astype(np.int64)

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Flat voxel index of every patch element, (n_tokens, P); -1 outside volume or mask."""
        # one axis at a time, (n, 1, ky, 1): an array of (z, y, x) would take three times the memory
        along = [
            (self.coords[:, axis, None] * self.stride[axis] + np.arange(self.kernel[axis])).reshape(
                -1, *(self.kernel[axis] if axis == a else 1 for a in range(3))
            )
            for axis in range(3)
        ]
        within = [voxel < size for voxel, size in zip(along, self.shape, strict=True)]
        z, y, x = (np.minimum(v, n - 1) for v, n in zip(along, self.shape, strict=True))
        flat = (z * self.shape[1] + y) * self.shape[2] + x  # (n, kz, ky, kx)
        brain = self.mask.reshape(-1)[flat]
        for valid in within:
            brain &= valid
        flat[~brain] = -1
        return flat.reshape(self.n_tokens, self.patch_voxels)

    @cached_property
    def patch_mask(self) -> npt.NDArray[np.bool_]:
        """Flag of the patch elements that are brain voxels, (n_tokens, P)."""
        return self.offsets >= 0

    def centers(self, affine: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Compute the patch centres in millimetres.

        Parameters
        ----------
        affine : array_like, (4, 4)
            Voxel (x, y, z) to world mm, as in the NIfTI header.

        Returns
        -------
        ndarray, (n_tokens, 3) float64
            World coordinates (x, y, z), mm.
        """
        middle = self.coords * np.asarray(self.stride) + (np.asarray(self.kernel) - 1) / 2
        homogeneous = np.concatenate([middle[:, ::-1], np.ones((self.n_tokens, 1))], axis=1)
        return (homogeneous @ np.asarray(affine, dtype=np.float64).T)[:, :3]

    def pack(self, volumes: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Gather volumes into patch-major order; voxels outside the mask become zero.

        Parameters
        ----------
        volumes : ndarray, (..., Z, Y, X)

        Returns
        -------
        ndarray, (..., n_tokens, P), same dtype

        Raises
        ------
        InputError
            `volumes` is no plain array, or of another grid.
        """
        ending_in(volumes, self.shape, where="TokenGrid.pack: volumes")
        flat = volumes.reshape(*volumes.shape[:-3], self.mask.size)
        return np.where(self.patch_mask, flat[..., np.maximum(self.offsets, 0)], 0).astype(
            volumes.dtype, copy=False
        )

    def unpack(self, patches: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Scatter patches back into volumes, zero outside the mask; requires kernel == stride.

        Parameters
        ----------
        patches : ndarray, (..., n_tokens, P)

        Returns
        -------
        ndarray, (..., Z, Y, X), same dtype

        Raises
        ------
        InputError
            Patches overlap, or `patches` is no plain array, or of another grid.
        """
        if self.overlapping:
            raise InputError("TokenGrid.unpack: kernel must equal stride, got overlapping patches.")
        ending_in(patches, (self.n_tokens, self.patch_voxels), where="TokenGrid.unpack: patches")
        lead = patches.shape[:-2]
        flat = np.zeros((*lead, self.mask.size), dtype=patches.dtype)
        flat[..., self.offsets[self.patch_mask]] = patches[..., self.patch_mask]
        return flat.reshape(*lead, *self.shape)

    def fingerprint(self) -> str:
        """Return a short hash of mask, kernel, stride and kept sites; equal for equal grids."""
        return self._digest[:16]

    # not a frozen dataclass: torch.compile of torch 2.10 does not accept one as a constant
    def __setattr__(self, name: str, value: object) -> None:
        if name in self.__dict__:
            raise AttributeError(f"TokenGrid.{name} is read-only. Make a new grid.")
        super().__setattr__(name, value)

    # torch.compile compares the grid of a call with the one it compiled for
    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, TokenGrid) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(np.packbits(self.mask).tobytes())
        digest.update(repr((self.shape, self.kernel, self.stride)).encode())
        digest.update(self.kept.tobytes())
        return digest.hexdigest()


def _lattice(mask: npt.NDArray[np.bool_], kernel: Triple, stride: Triple) -> Triple:
    # ceil: the last patch may extend beyond the volume, so that no border voxel is lost
    return tuple(
        max(0, -(-(n - k) // s)) + 1 for n, k, s in zip(mask.shape, kernel, stride, strict=True)
    )


def _ascend(sites: npt.NDArray[np.int64], *, below: int) -> bool:
    return bool(sites[0] >= 0 and sites[-1] < below and (np.diff(sites) > 0).all())


def _triple(name: str, value: Any) -> Triple:
    triple = tuple(int(v) for v in value)
    if len(triple) != 3 or min(triple) < 1:
        raise InputError(f"TokenGrid: {name} must be three positive integers, got {value}.")
    return triple
