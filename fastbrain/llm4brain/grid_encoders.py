"""One encoder for several voxel grids: shared weights, each grid with its own layout of tokens.

A weight of a patch has one meaning in all grids, as their patches have the same size in voxels and
their axes run in the same directions. What depends on the grid are the statistics of the voxels and
the position code, which is computed from the centre of each patch in mm. The number of tokens may
differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from .._arguments import checked
from ..data import StoreCollection, VoxelStore, token_centers
from ..errors import ConfigError, InputError
from ..grid import TokenGrid
from ..nn.external_parts import leave_out
from .config import EncoderConfig
from .standalone_encoder import BrainEncoder


@dataclass(frozen=True, eq=False)
class GridLayout:
    """Layout of the tokens of one grid.

    Parameters
    ----------
    grid : TokenGrid
    centers_mm : ndarray, (n_tokens, 3) float64
    mean, inv_std : ndarray, (n_tokens, P) float32
        Voxel statistics of the training windows on this grid.
    """

    grid: TokenGrid
    centers_mm: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float32]
    inv_std: npt.NDArray[np.float32]

    @classmethod
    def of(cls, store: VoxelStore) -> GridLayout:
        """Return the layout of a store."""
        return cls(store.grid, token_centers(store), store.mean, store.inv_std)

    def fingerprint(self) -> str:
        """Return a short hash of the tokens and their positions, without the statistics."""
        places = np.asarray(self.centers_mm, dtype=np.float64).round(3) + 0.0  # no negative zero
        return hashlib.sha256(self.grid.fingerprint().encode() + places.tobytes()).hexdigest()[:16]


@checked
def tie_parameters(
    modules: Mapping[str, nn.Module], *, own: Sequence[str] = (), kinds: Sequence[str] = ()
) -> nn.ModuleDict:
    """Give modules of one kind the parameters of the first; buffers stay their own.

    Parameters
    ----------
    modules : mapping of str to Module
        With parameters of the same names and shapes.
    own : sequence of str
        Paths of the parts that are not shared, for instance ``"bridge.mix"``.
    kinds : sequence of str, optional
        Kind of each module: those of one kind share the parts in `own` too. Default: all differ.

    Returns
    -------
    ModuleDict
        The modules. Its state dict has the parameters once, under the name of the first that has
        them.

    Raises
    ------
    InputError
        There is no module, or parameters differ in name or shape.
    """
    if not modules or (kinds and len(kinds) != len(modules)):
        raise InputError(
            "tie_parameters: modules must be one or more, and kinds one for each or none, got "
            f"{len(modules)} modules and {len(kinds)} kinds."
        )
    names = list(modules)
    firsts: dict[str, str] = {}  # of each kind, the module with the parts in `own`
    left: list[str] = []
    for name, kind in zip(names, kinds or names, strict=True):
        twin = firsts.setdefault(kind, name)
        if name == names[0]:
            continue
        apart = tuple(own) if twin == name else ()
        _check_alike(names[0], modules[names[0]], name, modules[name], own)
        before = dict(modules[name].named_parameters())
        _share(modules[name], modules[names[0]], tuple(own))
        if not apart and own:
            _check_alike(twin, modules[twin], name, modules[name], ())
            _share(modules[name], modules[twin], ())
        left += [f"{name}.{path}" for path in before if not _within(path, apart)]
    tied = nn.ModuleDict(modules)
    leave_out(tied, tuple(left))
    return tied


def _check_alike(
    first_name: str, first: nn.Module, name: str, module: nn.Module, own: Sequence[str]
) -> None:
    wanted, found = (
        {n: p.shape for n, p in each.named_parameters() if not _within(n, own)}
        for each in (first, module)
    )
    if found != wanted:
        odd = sorted(n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n))
        raise InputError(
            f"tie_parameters: {name} must have the parameters of {first_name}, got others in "
            f"{odd[:3]}. Use the same patch size and configuration for all grids."
        )


def _share(module: nn.Module, first: nn.Module, own: tuple[str, ...], path: str = "") -> None:
    """Give a module the parameters of another one, and whole parts of it that have no buffers."""
    for name, parameter in first.named_parameters(recurse=False):
        if not _within(path + name, own):
            setattr(module, name, parameter)
    for name, part in first.named_children():
        here = path + name
        if _within(here, own) or module.get_submodule(name) is part:
            continue
        # FSDP replaces the blocks of a list: all modules must see the list itself
        if next(part.buffers(), None) is None and not any(o.startswith(f"{here}.") for o in own):
            setattr(module, name, part)
        else:
            _share(module.get_submodule(name), part, own, f"{here}.")


def _within(path: str, parts: Sequence[str]) -> bool:
    return any(path == part or path.startswith(f"{part}.") for part in parts)


class GridEncoders(nn.Module):
    """Tokenizer and SC-MBM encoder for several grids; all weights are shared.

    Parameters
    ----------
    config : EncoderConfig
        With ``positions="brain"``: a table has one row for each token of one grid.
    layouts : mapping of str to GridLayout
        By name of the grid, as ``Batch.grid`` of a loader of a :class:`StoreCollection`.
    frames : int
        Number of volumes F in a window.
    scale : float
        Factor from stored integers to physical units.

    Raises
    ------
    ConfigError
        The configuration has a position table.
    InputError
        There is no grid, or grids differ in patch size.

    Attributes
    ----------
    parts : ModuleDict of BrainEncoder
    """

    def __init__(
        self,
        config: EncoderConfig,
        layouts: Mapping[str, GridLayout],
        *,
        frames: int,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if config.positions != "brain":
            raise ConfigError(
                "GridEncoders: positions must be 'brain' for several grids, got "
                f"{config.positions!r}: a table belongs to the tokens of one grid."
            )
        self.parts = tie_parameters(
            {
                name: BrainEncoder(
                    config,
                    grid=layout.grid,
                    frames=frames,
                    centers_mm=layout.centers_mm,
                    mean=layout.mean,
                    inv_std=layout.inv_std,
                    scale=scale,
                )
                for name, layout in layouts.items()
            }
        )

    @classmethod
    def of(cls, collection: StoreCollection, config: EncoderConfig) -> GridEncoders:
        """Build untrained encoders for a collection of stores."""
        return cls(
            config,
            {name: GridLayout.of(store) for name, store in collection.stores.items()},
            frames=collection.window_spec.window_trs,
            scale=collection.scale,
        )

    def part(self, grid: str) -> BrainEncoder:
        """Return the encoder of a grid; raises :class:`InputError` if there is none."""
        if grid not in self.parts:
            raise InputError(
                f"GridEncoders: grid must be one of {', '.join(self.parts)}, got {grid!r}."
            )
        found = self.parts[grid]
        assert isinstance(found, BrainEncoder)
        return found

    @property
    def first(self) -> BrainEncoder:
        """Encoder of the first grid, which has the weights of all."""
        return self.part(next(iter(self.parts)))

    def set_trainable(self, groups: Sequence[str]) -> list[str]:
        """Train the named groups and freeze the rest; see :meth:`BrainEncoder.set_trainable`."""
        return self.first.set_trainable(groups)

    def save(self, path: str | Path) -> Path:
        """Write the weights for :func:`load_scmbm`, with the voxel statistics of the first grid."""
        return self.first.save(path)
