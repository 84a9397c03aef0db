"""Frame encoder of the video branch: clips to tokens. Used in training only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, InputError
from .blocks import Block, init_trunk
from .config import VideoConfig


class FrameEncoder(nn.Module):
    """Small ViT applied to each frame, plus a learned position code of the frame in the clip.

    Parameters
    ----------
    config : VideoConfig

    Attributes
    ----------
    dim : int
        Width of the output tokens.
    """

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        self.config, self.dim = config, config.dim
        patches = (config.size // config.patch) ** 2
        self.patch = nn.Conv2d(3, config.dim, config.patch, config.patch)
        self.place = nn.Parameter(torch.empty(patches, config.dim).normal_(std=0.02))
        self.time = nn.Parameter(torch.empty(config.frames, 1, config.dim).normal_(std=0.02))
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, mlp_ratio=config.mlp_ratio) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.dim)
        init_trunk(self.blocks)

    def forward(self, frames: Tensor) -> Tensor:
        """Encode clips.

        Parameters
        ----------
        frames : Tensor, (B, T, 3, H, W) float in [0, 1]

        Returns
        -------
        Tensor, (B, T·patches, dim)
        """
        expected = (self.config.frames, 3, self.config.size, self.config.size)
        if tuple(frames.shape[1:]) != expected:
            raise InputError(
                f"FrameEncoder: frames must be (B, {', '.join(map(str, expected))}), got "
                f"{tuple(frames.shape)}. Sample and resize the clip first."
            )
        b, t = frames.shape[:2]
        x = self.patch(frames.flatten(0, 1) * 2 - 1).flatten(2).transpose(1, 2)  # (B·T, p, d)
        x = x + self.place.to(x.dtype)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x).unflatten(0, (b, t)) + self.time.to(x.dtype)  # (B, T, p, d)
        return x.flatten(1, 2)


def placed(tokens: Tensor, place: Tensor | None) -> Tensor:
    """Add position code `place` (T, 1, dim) of each frame to its tokens (B, T·patches, dim).

    Raises
    ------
    InputError
        The shape of the tokens does not match T frames of width dim.
    """
    if place is None:
        return tokens
    if tokens.ndim != 3 or tokens.shape[1] % len(place) or tokens.shape[2] != place.shape[2]:
        raise InputError(
            f"LLM4Brain: the frame encoder must give (B, T·patches, {place.shape[2]}) for "
            f"{len(place)} frames, got {tuple(tokens.shape)}. Sample as many frames as "
            "VideoConfig.frames says."
        )
    return (tokens.unflatten(1, (len(place), -1)) + place.to(tokens.dtype)).flatten(1, 2)


class NoVideo(nn.Module):
    """Placeholder for an external frame encoder, which decoding does not need."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, frames: Tensor) -> Tensor:
        """Raise a :class:`CheckpointError`: no frame encoder was passed."""
        raise CheckpointError(
            "LLM4Brain: this model was trained with an external frame encoder. Pass it as "
            "from_pretrained(video=...) to use the video branch."
        )
