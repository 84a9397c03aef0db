"""Waves of a few sources in a few regions, and a small autoencoder for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastbrain.data import SeriesScaler
from fastbrain.training import OptimConfig
from fastbrain.vqlm import QuantiserConfig, VQAutoencoder, VQAutoencoderConfig
from fastbrain.vqlm.training import VQStageConfig

REGIONS, PATCH, FRAMES = 4, 5, 20


def runs(
    count: int = 6, frames: int = 103, seed: int = 0, noise: float = 0.3
) -> dict[str, np.ndarray]:
    """Slow and fast waves of two sources in four regions, plus noise, far from zero."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(REGIONS, 2))
    made = {}
    for i in range(count):
        t = np.arange(frames)
        phase = rng.uniform(0, 2 * np.pi, 2)
        sources = np.stack([np.sin(0.35 * t + phase[0]), np.sin(0.9 * t + phase[1])])
        signal = mixing @ sources + noise * rng.standard_normal((REGIONS, frames))
        made[f"{seed}-{i}"] = 500 + 20 * signal
    return made


def autoencoder(train: dict[str, np.ndarray], **quantiser: Any) -> VQAutoencoder:
    """Equal weights at each call, scaled to the runs."""
    config = VQAutoencoderConfig(
        REGIONS,
        patch=PATCH,
        dim=24,
        depth=1,
        heads=2,
        decoder_depth=1,
        quantiser=QuantiserConfig(**{"codes": 32, "dim": 8, **quantiser}),
    )
    scaler = SeriesScaler.fit(train)
    torch.manual_seed(0)
    return VQAutoencoder(config, center=scaler.center, spread=scaler.spread)


STAGE = VQStageConfig(
    epochs=3,
    batch_size=8,
    frames=FRAMES,
    optim=OptimConfig(lr=3e-3, warmup_steps=5, weight_decay=0.01),
)
