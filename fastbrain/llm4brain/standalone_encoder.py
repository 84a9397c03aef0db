"""Tokenizer and SC-MBM encoder without a language model, for pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy.typing as npt
import torch
from torch import Tensor, nn

from .._arguments import checked
from .._io import write_atomic
from ..errors import CheckpointError, ConfigError
from ..grid import TokenGrid
from ..nn.positions import as_floats
from .config import EncoderConfig
from .encoder import SCMBM
from .tokenizer import VoxelTokenizer

GROUPS = ("tokenizer", "encoder")


class BrainEncoder(nn.Module):
    """Tokenizer followed by the SC-MBM encoder: voxels to encoder tokens.

    Parameters
    ----------
    config : EncoderConfig
    grid : TokenGrid
    frames : int
        Number of volumes F in a window.
    centers_mm : array_like, (n_tokens, 3) float
    mean, inv_std : array_like, (n_tokens, P) float32, optional
    scale : float
        As in :class:`VoxelTokenizer`.
    """

    def __init__(
        self,
        config: EncoderConfig,
        *,
        grid: TokenGrid,
        frames: int,
        centers_mm: npt.ArrayLike | Tensor,
        mean: npt.ArrayLike | Tensor | None = None,
        inv_std: npt.ArrayLike | Tensor | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.config = config
        self.centers_mm = as_floats(centers_mm, torch.float64)
        self.tokenizer = VoxelTokenizer(
            grid,
            frames,
            config.dim,
            steps=config.steps,
            config=config.tokenizer,
            mean=mean,
            inv_std=inv_std,
            scale=scale,
        )
        self.encoder = SCMBM(config, self.tokenizer.centers(self.centers_mm))

    def forward(self, voxels: Tensor) -> Tensor:
        """Compute encoder tokens (B, W·(1 + n_tokens), dim) of windows (B, F, n_patches, P)."""
        out: Tensor = self.encoder(self.tokenizer(voxels))
        return out

    def set_trainable(self, groups: Sequence[str]) -> list[str]:
        """Train the named groups ("tokenizer", "encoder") and freeze the rest.

        Raises
        ------
        ConfigError
            A group is unknown, or `groups` is empty.
        """
        if not groups or set(groups) - set(GROUPS):
            raise ConfigError(f"set_trainable: groups must be some of {GROUPS}, got {groups}.")
        self.tokenizer.requires_grad_("tokenizer" in groups)
        self.encoder.requires_grad_("encoder" in groups)
        return [name for name, p in self.named_parameters() if p.requires_grad]

    @checked
    def save(self, path: str | Path) -> Path:
        """Write weights and voxel statistics as safetensors, for :func:`load_scmbm`.

        Raises
        ------
        CheckpointError
            A weight is not finite.
        """
        from safetensors.torch import save

        state = {k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}
        broken = [k for k, v in state.items() if not v.isfinite().all()]
        if broken:
            raise CheckpointError(f"BrainEncoder.save: weights must be finite, got {broken[:5]}.")
        return write_atomic(path, save(state))
