"""Features in the space of a language model: the images of codes, and the alignment probe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..._arguments import checked
from ...errors import InputError
from ..alignment import probe_domains
from ..autoencoder import VQAutoencoder
from .series_loader import SeriesBatch

_EVERY = 7  # the probe uses every seventh feature of a window


@dataclass(frozen=True)
class CodeImages:
    """Image of each code under the map of an aligned autoencoder to a language model.

    Parameters
    ----------
    vectors : Tensor, (K, text_dim) float32
    counts : Tensor, (K,) int64
        Patches of each code in the runs.
    fitted_on : tuple of str
        The runs.
    """

    vectors: Tensor
    counts: Tensor
    fitted_on: tuple[str, ...]


@checked
@torch.no_grad()
def code_images(model: VQAutoencoder, batches: Iterable[SeriesBatch]) -> CodeImages:
    """Map the mean encoder feature of the patches of each code to the width of the language model.

    The domain classifier aligns encoder features, whereas a code is a vector of the quantiser's
    space. The image of a code is therefore ``to_text(mean feature of its patches)``. A code without
    a patch gets the image of the nearest code that has one.

    Parameters
    ----------
    model : VQAutoencoder
        Trained with a domain classifier.
    batches : iterable of SeriesBatch
        Windows of training runs only: the images are fitted to them.

    Raises
    ------
    InputError
        The model has no map to a language model, or there are no patches.
    """
    if model.to_text is None:
        raise InputError(
            "code_images: model must have a map to a language model, got none. Train it with a "
            "domain classifier (VQLosses(domain=1.0))."
        )
    model.eval()
    size, device = model.quantiser.config.size, model.center.device
    sums = torch.zeros(size, model.config.dim, dtype=torch.float64, device=device)
    counts = torch.zeros(size, dtype=torch.int64, device=device)
    runs: dict[str, None] = {}
    for batch in batches:
        mask = None if batch.mask is None else batch.mask.to(device)
        features = model.encode(model.patches(batch.series.to(device), mask), mask)
        codes = model.quantiser(model.narrow(features), mask).indices
        known = codes >= 0
        sums.index_add_(0, codes[known], features[known].double())
        counts += torch.bincount(codes[known], minlength=size)
        runs |= dict.fromkeys(batch.runs)
    seen = counts > 0
    if not bool(seen.any()):
        raise InputError("code_images: batches must hold patches, got none.")
    mean = (sums / counts.clamp_min(1)[:, None]).to(model.center.dtype)
    places = model.quantiser.values_of(torch.arange(size, device=device)).float()
    nearest = seen.nonzero()[torch.cdist(places, places[seen]).argmin(dim=1), 0]
    vectors = model.to_text(mean[torch.where(seen, torch.arange(size, device=device), nearest)])
    return CodeImages(vectors.float().cpu(), counts.cpu(), tuple(runs))


@torch.no_grad()
def probe_alignment(
    model: VQAutoencoder, batches: Iterable[SeriesBatch], words: Tensor, *, seed: int = 0
) -> dict[str, Any]:
    """Probe how far the features of test people are from the embeddings of words.

    Parameters
    ----------
    model : VQAutoencoder
    batches : iterable of SeriesBatch
    words : Tensor, (M, d)
        Embedding of each word of a text, once.
    seed : int

    Returns
    -------
    dict
        A :class:`DomainProbe`, and in ``"map"`` how features came to the width d: "aligned", or for
        a model without a map "identity" (same width) or "random" (a linear layer as initialised, a
        reference without alignment).
    """
    model.eval()
    dim, width = model.config.dim, words.shape[1]
    name, to_text = "aligned", model.to_text
    if to_text is None and dim == width:
        name, to_text = "identity", nn.Identity()
    elif to_text is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            name, to_text = "random", nn.Linear(dim, width).to(model.center.device)
    features, people = [], []
    for batch in batches:
        device = model.center.device
        mask = None if batch.mask is None else batch.mask.to(device)
        encoded = model.encode(model.patches(batch.series.to(device), mask), mask)
        for run, one, i in zip(batch.runs, encoded, range(len(encoded)), strict=True):
            inside = one.flatten(0, 1) if mask is None else one[mask[i]]
            some = to_text(inside[::_EVERY])
            features.append(some.cpu())
            people += [run] * len(some)
    return {**asdict(probe_domains(torch.cat(features), words, groups=people)), "map": name}
