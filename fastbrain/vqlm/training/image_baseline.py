"""Vision baseline: recordings as pictures, the input of the poster's vision-language models.

Regions are rows and time runs to the right, as in a carpet plot. The vision model is trained on the
pictures, an advantage over a frozen one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import InputError
from ...nn.config import VideoConfig
from ...nn.frame_encoder import FrameEncoder

_SIZES = VideoConfig(frames=1, size=32, patch=8, dim=64, depth=2, heads=4)
_LIMIT = 2.5  # z-scores of black (-_LIMIT) and white (+_LIMIT)


def series_image(series: npt.NDArray[Any], size: int) -> Tensor:
    """Render a series (R, T), z-scored per region, as a picture (3, size, size) in [0, 1]."""
    values = torch.tensor(np.asarray(series), dtype=torch.float32)
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
    target: Mapping[str, float] | Mapping[str, str],
    *,
    train: Sequence[str],
    steps: int,
    frames: int,
    labels: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, float] | dict[str, list[float]]:
    """Train a small vision transformer on pictures of the training people; predict for all people.

    Parameters
    ----------
    series : mapping of str to ndarray, (R, T)
        Series by person.
    target : mapping of str to float or str
        Target by person; only targets of people in `train` are used.
    train : sequence of str
    steps : int
        Optimiser steps of 16 pictures.
    frames : int
        Frames of a picture. Training pictures start at random frames; a prediction is the mean
        over consecutive pictures.
    labels : sequence of str
        Possible labels of the target; empty for a number.
    seed : int

    Returns
    -------
    dict of str to float or list of float
        By person: the number, or the probability of each label.
    """
    rng = np.random.default_rng(seed)
    if labels:
        goal = torch.tensor([labels.index(str(target[p])) for p in train])
    else:
        numbers = torch.tensor([float(target[p]) for p in train])
        mean, std = numbers.mean(), numbers.std().clamp_min(1e-6)
        goal = (numbers - mean) / std

    def picture(person: str, start: int) -> Tensor:
        return series_image(series[person][:, start : start + frames], _SIZES.size)

    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        encoder, head = FrameEncoder(_SIZES), nn.Linear(_SIZES.dim, len(labels) or 1)
        weights = [*encoder.parameters(), *head.parameters()]
        optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.1)
        for _ in range(steps):
            chosen = rng.integers(len(train), size=16)
            lengths = [series[train[i]].shape[1] for i in chosen]
            starts = [int(rng.integers(max(1, n - frames + 1))) for n in lengths]
            shown = torch.stack([picture(train[i], s) for i, s in zip(chosen, starts, strict=True)])
            found = head(encoder(shown[:, None]).mean(dim=1))
            wanted = goal[torch.from_numpy(chosen)]
            loss = F.cross_entropy(found, wanted) if labels else F.mse_loss(found[:, 0], wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    predictions: dict[str, Any] = {}
    with torch.no_grad():
        for person, values in series.items():
            last = max(1, values.shape[1] - frames + 1)
            shown = torch.stack([picture(person, s) for s in range(0, last, frames)])
            found = head(encoder(shown[:, None]).mean(dim=1))
            if labels:
                predictions[person] = found.double().softmax(dim=1).mean(dim=0).tolist()
            else:
                predictions[person] = float(found.mean() * std + mean)
    return predictions
