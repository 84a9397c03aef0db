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
from ..data.splits.share import share_of_training
from ..errors import ConfigError, some
from .grid import Variant

_TRAINED = tuple(name for name in DECODERS if name != "none")


@checked
def capacity_variants(
    config: BrainLLMRunConfig,
    decoders: Sequence[str] = _TRAINED,
    *,
    depths: Sequence[int] = (),
    widths: Sequence[int] = (),
) -> list[Variant]:
    """List the variants of a configuration with another brain decoder.

    Parameters
    ----------
    config : BrainLLMRunConfig
        The reference, first in the list.
    decoders : sequence of str
        Names of decoders, see :class:`fastbrain.brainllm.BrainLLMConfig`.
    depths, widths : sequence of int
        Numbers and widths of the hidden layers of an MLP, one changed at a time.

    Raises
    ------
    ConfigError
        A decoder or a size is not possible, or all variants equal the reference.
    """
    unknown = [name for name in decoders if name not in _TRAINED]
    if unknown:
        raise ConfigError(
            f"study capacity: decoders must be some of {_TRAINED}, got {list(decoders)}."
        )
    mlp = config if config.decoder == "mlp" else replace(config, decoder="mlp")
    found = [Variant("reference", f"{config.decoder}, as trained", config)]
    # depth and width belong to the MLP alone
    for name in dict.fromkeys(decoders):
        sized = mlp if name == "mlp" else replace(config, decoder=name, depth=2, width=None)
        found.append(Variant(name, name, sized))
    for depth in dict.fromkeys(depths):
        title = f"mlp, {depth} hidden layers"
        found.append(Variant(f"depth-{depth}", title, replace(mlp, depth=depth)))
    for width in dict.fromkeys(widths):
        title = f"mlp, hidden layers of {width}"
        found.append(Variant(f"width-{width}", title, replace(mlp, width=width)))
    others = [v for v in found[1:] if v.config != config]
    if not others:
        raise ConfigError(
            "study capacity: a decoder or a size must differ from the run's, got none that does. "
            "Name others."
        )
    return [found[0], *others]


@checked
def share_variants(
    config: BrainLLMRunConfig, shares: Sequence[float], store: VoxelStore
) -> list[Variant]:
    """List the variants of a configuration on shares of its training part.

    Parameters
    ----------
    config : BrainLLMRunConfig
        The reference, first in the list; its own share is the largest.
    shares : sequence of float
        Shares of the store's training part, above 0. Whole stories or runs are taken, so the share
        that is used, in titles and on the axis, can be larger; it is that of the run's own seed.
    store : VoxelStore

    Raises
    ------
    ConfigError
        A share is out of range, none is below that of the reference, or two use as many stories or
        runs.
    """
    whole = config.training_share
    others = [share for share in shares if share != whole]
    fits = all(0 < share < whole for share in others)
    if not others or not fits or len(set(others)) < len(others):
        raise ConfigError(
            f"study samples: shares must be different numbers between 0 and the run's {whole:g}, "
            f"got {list(shares)}."
        )
    trials = len(store.split.train)

    def used(share: float) -> int:
        split = share_of_training(store.split, store.trials, share, seed=config.seed)
        return len(split.train)

    sizes = {share: used(share) for share in (whole, *sorted(others, reverse=True))}
    if len(set(sizes.values())) < len(sizes):
        named = ", ".join(f"{share:g} ({n} of {trials} trials)" for share, n in sizes.items())
        raise ConfigError(
            "study samples: shares must take different numbers of whole stories or runs, got "
            f"{named}. Leave some out (--shares)."
        )
    return [
        Variant(
            "reference" if share == whole else f"share-{share:g}",
            f"{n} of {trials} training trials",
            config if share == whole else replace(config, training_share=share),
            100 * n / trials,
        )
        for share, n in sizes.items()
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


@checked
def prompt_variants(
    config: BrainLLMRunConfig, lengths: Sequence[int], store: VoxelStore
) -> list[Variant]:
    """List the variants of a configuration with other lengths of the prompt.

    Parameters
    ----------
    config : BrainLLMRunConfig
        The reference, first in the list.
    lengths : sequence of int
        Words of the prompt that precede a text, the last ones; 0 for none.
    store : VoxelStore

    Raises
    ------
    ConfigError
        The store has no prompts, or a length is negative or not below that of the reference.
    """
    longest = max((len(t.prompt.split()) for t in store.trials), default=0)
    whole = longest if config.prompt_length is None else min(longest, config.prompt_length)
    others = [n for n in dict.fromkeys(lengths) if n != whole]
    if not whole or not others or not all(0 <= n < whole for n in others):
        raise ConfigError(
            f"study prompt-length: lengths must be from 0 to below the run's {whole} words, got "
            f"{list(lengths)}. A store has prompts from `fastbrain study narratives`, or from the "
            "column prompt of events."
        )
    return [
        Variant("reference", f"{whole} words", config, whole),
        *(
            Variant(f"words-{n}", f"{n} words", replace(config, prompt_length=n), n)
            for n in sorted(others, reverse=True)
        ),
    ]
