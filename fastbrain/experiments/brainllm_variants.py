"""BrainLLM with other decoders, on shares of its training part, and on single brain regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .._arguments import checked
from ..brainllm.config import DECODERS
from ..brainllm.training.pipeline import BrainLLMRunConfig
from ..data import VoxelStore
from ..data.readers.masks import read_labels
from ..errors import ConfigError, some
from .grid import Variant

_TRAINED = tuple(name for name in DECODERS if name != "none")


@checked
def capacity_variants(
    config: BrainLLMRunConfig, decoders: Sequence[str] = _TRAINED
) -> list[Variant]:
    """List the variants of a configuration with another brain decoder.

    Parameters
    ----------
    config : BrainLLMRunConfig
        The reference, first in the list.
    decoders : sequence of str
        Names of decoders, see :class:`fastbrain.brainllm.BrainLLMConfig`.

    Raises
    ------
    ConfigError
        A decoder is unknown, or all are that of the reference.
    """
    others = [name for name in dict.fromkeys(decoders) if name != config.decoder]
    unknown = [name for name in others if name not in _TRAINED]
    if unknown or not others:
        raise ConfigError(
            f"study capacity: decoders must be some of {_TRAINED} besides the run's "
            f"{config.decoder!r}, got {list(decoders)}."
        )
    found = [Variant("reference", f"{config.decoder}, as trained", config)]
    return found + [Variant(name, name, replace(config, decoder=name)) for name in others]


@checked
def share_variants(config: BrainLLMRunConfig, shares: Sequence[float]) -> list[Variant]:
    """List the variants of a configuration on shares of its training part.

    Parameters
    ----------
    config : BrainLLMRunConfig
        The reference, first in the list; its own share is the largest.
    shares : sequence of float
        Shares of the store's training part, above 0.

    Raises
    ------
    ConfigError
        A share is out of range, occurs twice, or none is below that of the reference.
    """
    whole = config.training_share
    others = [share for share in shares if share != whole]
    fits = all(0 < share < whole for share in others)
    if not others or not fits or len(set(others)) < len(others):
        raise ConfigError(
            f"study samples: shares must be different numbers between 0 and the run's {whole:g}, "
            f"got {list(shares)}."
        )
    return [
        Variant("reference", f"{whole:.0%} of the training part", config, 100 * whole),
        *(
            Variant(
                f"share-{share:g}",
                f"{share:.0%} of the training part",
                replace(config, training_share=share),
                100 * share,
            )
            for share in sorted(others, reverse=True)
        ),
    ]


@checked
def region_variants(
    config: BrainLLMRunConfig,
    atlas: str | Path,
    store: VoxelStore,
    names: Mapping[int, str] | None = None,
) -> list[Variant]:
    """List the variants of a configuration with one region of an atlas as input.

    Parameters
    ----------
    config : BrainLLMRunConfig
        The reference, first in the list.
    atlas : str or Path
        Label image on the store's grid; 0 is background.
    store : VoxelStore
    names : mapping of int to str, optional
        Labels to use and their names. Default: every label with voxels in the store.

    Raises
    ------
    ConfigError
        A label has no voxel in the store, or fewer voxels than the run has components.
    VolumeError
        The atlas is on another grid.
    """
    labels = read_labels(atlas, shape=store.grid.shape, affine=store.affine)
    present, counts = np.unique(labels[store.grid.mask], return_counts=True)
    voxels = {int(k): int(n) for k, n in zip(present, counts, strict=True) if k}
    chosen = {k: str(k) for k in voxels} if names is None else dict(names)
    small = [
        f"{chosen[k]} ({voxels.get(k, 0)})" for k in chosen if voxels.get(k, 0) < config.features
    ]
    if small or not chosen:
        wrong = some(small) if small else "no region"
        raise ConfigError(
            f"study regions: every region must have at least {config.features} voxels in the "
            f"store, one for each component, got {wrong}. Leave these "
            "labels out, or train the run with fewer --features."
        )
    path = str(Path(atlas).resolve())
    return [
        Variant("reference", "all voxels" if config.atlas is None else "as trained", config),
        *(
            Variant(
                f"region-{label}",
                f"{name} ({voxels[label]} voxels)",
                replace(config, atlas=path, regions=(label,)),
            )
            for label, name in chosen.items()
        ),
    ]
