"""A recording as a picture for a vision model: what the poster's vision-language models are shown.

Regions are rows and time runs to the right, as in a carpet plot. Here the vision model is trained
on the pictures, which is more than a frozen one is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..models import FrameEncoder, VideoConfig

_SIZES = VideoConfig(frames=1, size=32, patch=8, dim=64, depth=2, heads=4)
_LIMIT = 2.5  # standard deviations from black to white


def series_image(series: npt.NDArray[Any], size: int) -> Tensor:
    """Picture (3, size, size) float32 in [0, 1] of a series (R, T), each region z-scored."""
    values = torch.as_tensor(np.asarray(series), dtype=torch.float32)
    std = values.std(dim=1, keepdim=True)
    if values.ndim != 2 or not bool((std > 0).all()):  # written so that a NaN fails
        raise InputError(
            f"series_image: series must be (R, T), finite and change in every region, got "
            f"{tuple(values.shape)}."
        )
    z = (values - values.mean(dim=1, keepdim=True)) / std
    grey = (z.clamp(-_LIMIT, _LIMIT) / (2 * _LIMIT) + 0.5)[None, None]
    picture = F.interpolate(grey, (size, size), mode="bilinear", antialias=True)
    return picture[0].expand(3, -1, -1).clamp(0, 1)


def image_predictions(
    series: Mapping[str, npt.NDArray[Any]],
    target: Mapping[str, float],
    *,
    train: Sequence[str],
    steps: int,
    frames: int,
    seed: int = 0,
) -> dict[str, float]:
    """Train a small vision transformer on pictures of the training people, and ask it of all.

    Parameters
    ----------
    series : mapping of str to ndarray, (R, T)
    target : mapping of str to float
        Of everybody in `series`; only those of `train` are used.
    train : sequence of str
    steps : int
        Optimiser steps of 16 pictures.
    frames : int
        Of a picture. While training, pictures start anywhere; a prediction is the mean over
        pictures side by side.
    seed : int

    Returns
    -------
    dict of str to float
        By person.
    """
    rng = np.random.default_rng(seed)
    goal = torch.tensor([target[p] for p in train], dtype=torch.float32)
    mean, std = goal.mean(), goal.std().clamp_min(1e-6)

    def picture(person: str, start: int) -> Tensor:
        return series_image(series[person][:, start : start + frames], _SIZES.size)

    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        encoder, head = FrameEncoder(_SIZES), nn.Linear(_SIZES.dim, 1)
        weights = [*encoder.parameters(), *head.parameters()]
        optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.1)
        for _ in range(steps):
            chosen = rng.integers(len(train), size=16)
            lengths = [series[train[i]].shape[1] for i in chosen]
            starts = [int(rng.integers(max(1, n - frames + 1))) for n in lengths]
            shown = torch.stack([picture(train[i], s) for i, s in zip(chosen, starts, strict=True)])
            found = head(encoder(shown[:, None]).mean(dim=1))[:, 0]
            loss = F.mse_loss(found, (goal[torch.from_numpy(chosen)] - mean) / std)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    told = {}
    with torch.no_grad():
        for person, values in series.items():
            last = max(1, values.shape[1] - frames + 1)
            shown = torch.stack([picture(person, s) for s in range(0, last, frames)])
            z = head(encoder(shown[:, None]).mean(dim=1)).mean()
            told[person] = float(z * std + mean)
    return told
