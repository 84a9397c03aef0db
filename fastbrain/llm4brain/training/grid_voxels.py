"""Objective of SC-MBM pretraining on several voxel grids."""

from __future__ import annotations

from typing import Any

from ...nn.layers import adapters_off
from ...training.loop import Objective
from ..encoder import MaskedAutoencoder
from ..grid_encoders import GridEncoders, tie_parameters
from ..grid_models import GridModels
from .objectives import Terms
from .stage_config import LLM4BrainStage


class MaskedGridVoxels(Objective):
    """Reconstruct masked voxels of windows on several grids; the decoder is shared too.

    The error of a batch is the mean over the brain voxels of its masked tokens, so that grids count
    by their number of windows, not of voxels.

    Parameters
    ----------
    model : GridEncoders or GridModels
    config : LLM4BrainStage
    """

    def __init__(self, model: GridEncoders | GridModels, config: LLM4BrainStage) -> None:
        super().__init__()
        parts = {name: model.part(name) for name in model.parts}
        self.autoencoders = tie_parameters(
            {
                name: MaskedAutoencoder(part.tokenizer, part.encoder, part.centers_mm)
                for name, part in parts.items()
            }
        )
        self.noise_std = config.noise_std

    def forward(self, batch: Any) -> Terms:
        """Compute the reconstruction error of a batch of windows on one grid."""
        autoencoder = self.autoencoders[batch.grid]
        assert isinstance(autoencoder, MaskedAutoencoder)
        voxels = batch.voxels.to(autoencoder.hidden.device)
        if self.training and self.noise_std:
            voxels = autoencoder.tokenizer.noisy(voxels, self.noise_std)
        with adapters_off(autoencoder):
            return {"loss": autoencoder(voxels)}
