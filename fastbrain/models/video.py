"""Frames in, tokens out: the video branch that only training sees."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from .blocks import Block, init_trunk
from .config import VideoConfig


class FrameEncoder(nn.Module):
    """A small ViT over each frame, plus a learned code of the frame's place in the clip.

    Parameters
    ----------
    config : VideoConfig

    Attributes
    ----------
    dim : int
        Width of its tokens.
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


class VisionModelFrames(nn.Module):
    """Any transformers vision model as a frozen frame encoder.

    Parameters
    ----------
    model : PreTrainedModel
        Takes `pixel_values` (N, 3, H, W) and returns `last_hidden_state` (N, patches, d).
    mean, std : tuple of 3 float
        Colour statistics of its image processor.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: Any,
        *,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.dim = int(model.config.hidden_size)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> VisionModelFrames:
        """Stay in evaluation mode: the model is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Encode clips (B, T, 3, H, W) in [0, 1] into (B, T·patches, dim)."""
        if frames.ndim != 5 or frames.shape[2] != 3:
            raise InputError(
                f"VisionModelFrames: frames must be (B, T, 3, H, W), got {tuple(frames.shape)}."
            )
        pixels = (frames.flatten(0, 1) - self.mean) / self.std
        hidden = self.model(pixel_values=pixels).last_hidden_state  # (B·T, p, d)
        return hidden.unflatten(0, frames.shape[:2]).flatten(1, 2)


def from_vision_model(model: Any, *, processor: Any = None) -> VisionModelFrames:
    """Wrap a transformers vision model; colour statistics come from its image processor.

    Parameters
    ----------
    model : PreTrainedModel
    processor : image processor, optional
        Its `image_mean` and `image_std` are used; default 0.5.

    Returns
    -------
    VisionModelFrames
        Pass it as ``LLM4Brain(video=...)``.
    """
    if processor is None:
        return VisionModelFrames(model)
    return VisionModelFrames(
        model, mean=tuple(processor.image_mean), std=tuple(processor.image_std)
    )
