"""First codebook of an autoencoder: k-means on the vectors of its untrained encoder."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import distributed as dist

from ..._arguments import checked
from ..autoencoder import VQAutoencoder
from ..quantiser import everyone
from .series_loader import SeriesBatch

_ROWS_PER_CODE = 4  # vectors per code for k-means


@checked
@torch.no_grad()
def start_codebook(
    model: VQAutoencoder, loader: Iterable[SeriesBatch], *, seed: int = 0, pooled: bool = True
) -> None:
    """Initialise the codebook on vectors of the current encoder, unless it is initialised.

    Parameters
    ----------
    model : VQAutoencoder
    loader : iterable of SeriesBatch
    seed : int
    pooled : bool
        Whether several processes pool their vectors. False: all have the same loader, and the
        vectors of the first process count.

    Raises
    ------
    InputError
        The runs have fewer tokens than the codebook has codes.
    """
    quantiser = model.quantiser
    if bool(getattr(quantiser, "started", True)):
        return
    model.eval()
    wanted, rows = _ROWS_PER_CODE * quantiser.config.size, []
    device = model.center.device
    for batch in loader:
        mask = None if batch.mask is None else batch.mask.to(device)
        vectors = model.narrow(model.encode(model.patches(batch.series.to(device), mask), mask))
        rows.append(vectors.flatten(0, 2) if mask is None else vectors[mask])
        if sum(map(len, rows)) >= wanted:
            break
    generator = torch.Generator(device).manual_seed(seed)
    found = torch.cat(rows)
    if not pooled and everyone() is not None and dist.get_rank():
        found = found[:0]
    quantiser.start(found, generator=generator)
