"""Check the encoder of the user before a run starts."""

from __future__ import annotations

from dataclasses import replace

import torch

from ...data import VoxelStore, token_centers
from ...data.store.members import AnyStore
from ...nn.positions import as_floats
from ..custom_encoder import build_encoder, pinned, refused_on_grids
from ..tokenizer import VoxelTokenizer
from .run_config import RunConfig


def with_own_encoder(store: AnyStore, config: RunConfig) -> RunConfig:
    """Build a custom encoder for a store, try it out, and record the digest of its source.

    Without a custom encoder the configuration is returned as it is. Global random numbers are left
    alone.

    Raises
    ------
    ConfigError
        The user has not named the class, it does not keep to the protocol, or the store has
        several grids.
    CheckpointError
        The source of the class differs from the recorded one.
    """
    custom, sizes = config.model.custom_encoder, config.model.encoder
    if custom is None:
        return config
    if not isinstance(store, VoxelStore):
        raise refused_on_grids(custom, function="train")
    custom = pinned(custom)
    frames = store.window_spec.window_trs
    with torch.random.fork_rng(devices=[]):
        tokenizer = VoxelTokenizer(
            store.grid, frames, sizes.dim, steps=sizes.steps, config=sizes.tokenizer
        )
        places = tokenizer.centers(as_floats(token_centers(store), torch.float64))
        build_encoder(custom, dim=sizes.dim, steps=sizes.steps, centers_mm=places)
    return replace(config, model=replace(config.model, custom_encoder=custom))
