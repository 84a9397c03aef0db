"""SC-MBM: a ViT over brain tokens, pretrained by reconstruction of masked voxels.

Chen et al., "Seeing Beyond the Brain" (Mind-Vis, sparse-coded masked brain modelling) and
"Cinematic Mindscapes" (Mind-Video, attention across the steps of a window). LLM4Brain (section 3.1)
freezes the encoder and adds adapters.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..nn import shards
from ..nn.blocks import Block, TemporalBlock, init_trunk, run_blocks
from ..nn.config import AdapterConfig
from ..nn.positions import brain_positions
from .config import EncoderConfig, LLM4BrainConfig
from .custom_encoder import build_encoder, pinned
from .tokenizer import VoxelTokenizer


class SCMBM(nn.Module):
    """Transformer encoder of the tokens of a window.

    Parameters
    ----------
    config : EncoderConfig
    centers_mm : array_like, (n_tokens, 3) float
        Token centres (x, y, z) in mm, from which the fixed position code is computed.
    adapter : AdapterConfig, optional
        Adapters in the query projection and the MLP of every block.
    """

    positions: Tensor

    def __init__(
        self,
        config: EncoderConfig,
        centers_mm: npt.ArrayLike | Tensor,
        *,
        adapter: AdapterConfig | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        # the code is recomputed from the centres, which are saved with the grid
        code = brain_positions(centers_mm, config.dim)
        self.register_buffer("positions", code, persistent=config.positions == "table")
        self.recompute = False
        self.compiles = True
        self.cls = nn.Parameter(torch.empty(1, 1, config.dim).normal_(std=0.02))
        self.time = (
            nn.Parameter(torch.zeros(config.steps, 1, config.dim)) if self.steps > 1 else None
        )
        self.blocks = nn.ModuleList(_block(config, adapter) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim)
        init_trunk(self.blocks)

    @property
    def steps(self) -> int:
        """Number of steps W in a window."""
        return self.config.steps

    def forward(self, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encode the tokens of each window.

        Parameters
        ----------
        tokens : Tensor, (B, W · n_tokens, dim)
            The steps of each window in order.
        keep : Tensor, (B, k) int64, optional
            Indices of visible tokens, the same in every step; default: all.

        Returns
        -------
        Tensor, (B, W · (1 + n_tokens or k), dim)
            The cls token of each step comes first.
        """
        n = len(self.positions)
        if tokens.shape[1:] != (self.steps * n, self.config.dim):
            raise InputError(
                f"SCMBM: tokens must be (B, {self.steps * n}, {self.config.dim}), got "
                f"{tuple(tokens.shape)}."
            )
        windows = len(tokens)
        x = tokens.unflatten(1, (self.steps, n)) + self.positions.to(tokens.dtype)
        if self.time is not None:
            x = x + self.time.to(x.dtype)
        x = x.flatten(0, 1)  # (B·W, n, dim)
        if keep is not None:
            # hide a token in all steps: it could be copied from a step that shows it
            x = take(x, keep.repeat_interleave(self.steps, dim=0))
        x = torch.cat([self.cls.to(x.dtype).expand(len(x), -1, -1), x], dim=1)
        x = self.norm(run_blocks(self.blocks, x, recompute=self.recompute))
        return x.reshape(windows, -1, self.config.dim)


def _block(config: EncoderConfig, adapter: AdapterConfig | None) -> Block:
    if config.steps == 1:
        return Block(
            config.dim,
            config.heads,
            mlp_ratio=config.mlp_ratio,
            adapter=adapter,
            dropout=config.dropout,
        )
    return TemporalBlock(
        config.dim,
        config.heads,
        steps=config.steps,
        mlp_ratio=config.mlp_ratio,
        adapter=adapter,
        dropout=config.dropout,
    )


class MaskedAutoencoder(nn.Module):
    """Tokenizer and encoder with a small decoder for masked pretraining.

    Parameters
    ----------
    tokenizer : VoxelTokenizer
    encoder : SCMBM
    centers_mm : array_like, (n_patches, 3) float
        Patch centres of the tokenizer grid.
    """

    positions: Tensor

    def __init__(
        self,
        tokenizer: VoxelTokenizer,
        encoder: SCMBM,
        centers_mm: npt.ArrayLike | Tensor,
    ) -> None:
        super().__init__()
        config = encoder.config
        if tokenizer.steps != encoder.steps:
            raise InputError(
                f"MaskedAutoencoder: tokenizer must read the encoder's {encoder.steps} steps, "
                f"got {tokenizer.steps}."
            )
        self.tokenizer, self.encoder = tokenizer, encoder
        code = brain_positions(tokenizer.centers(centers_mm), config.decoder_dim)
        self.register_buffer("positions", code, persistent=False)
        self.widen = nn.Linear(config.dim, config.decoder_dim)
        self.hidden = nn.Parameter(torch.empty(config.decoder_dim).normal_(std=0.02))
        self.blocks = nn.ModuleList(
            Block(config.decoder_dim, config.decoder_heads, mlp_ratio=config.mlp_ratio)
            for _ in range(config.decoder_depth)
        )
        self.norm = nn.LayerNorm(config.decoder_dim)
        frames = tokenizer.frames // tokenizer.steps
        voxels = tokenizer.reach.shape[1] * tokenizer.grid.patch_voxels
        self.head = nn.Linear(config.decoder_dim, frames * voxels)
        init_trunk(nn.ModuleList([self.widen, self.blocks, self.head]))

    def forward(self, voxels: Tensor) -> Tensor:
        """Mask part of the tokens and return the reconstruction error on them.

        Parameters
        ----------
        voxels : Tensor, (B, F, n_patches, P) int16

        Returns
        -------
        Tensor, scalar float32
            Mean squared error of the normalised brain voxels of the masked tokens.
        """
        n = self.tokenizer.n_tokens
        visible = max(1, min(n - 1, round(n * (1 - self.encoder.config.mask_ratio))))
        order = shards.draw(lambda rows: torch.rand(rows, n, device=voxels.device), len(voxels))
        order = order.argsort(dim=1)
        keep, hide = order[:, :visible], order[:, visible:]
        restored = self.restore(voxels, keep, hide)  # (B, h, F·P)
        with torch.no_grad():
            target = self._behind(self.tokenizer.normalise(voxels))  # (B, n, F·P)
            brain = self._behind((self.tokenizer.inv_std > 0)[None, None])[0]  # (n, P)
            target, brain = take(target, hide), brain.repeat(1, self.tokenizer.frames)[hide]
        error = (restored.float() - target).square() * brain
        return shards.share(error.sum() / brain.sum().clamp_min(1), brain.sum())

    def _behind(self, values: Tensor) -> Tensor:
        """Gather (B, F, n_patches, P) by token: values of its patches, (B, n, F·K·P)."""
        if self.tokenizer.joins:
            empty = values.new_zeros(*values.shape[:2], 1, values.shape[3])
            values = torch.cat([values, empty], dim=2)[:, :, self.tokenizer.reach].flatten(3)
        return values.transpose(1, 2).flatten(2)

    def restore(self, voxels: Tensor, keep: Tensor, hide: Tensor) -> Tensor:
        """Predict the normalised voxels (B, h, F·K·P) of tokens `hide` from tokens `keep`."""
        steps = self.encoder.steps
        seen = self.widen(self.encoder(self.tokenizer(voxels), keep))
        seen = seen.unflatten(1, (steps, -1)).flatten(0, 1)  # (B·W, 1 + k, d)
        keep, hide = (index.repeat_interleave(steps, dim=0) for index in (keep, hide))
        places = self.positions.to(seen.dtype)
        seen = torch.cat([seen[:, :1], seen[:, 1:] + places[keep]], dim=1)
        x = torch.cat([seen, self.hidden.to(seen.dtype) + places[hide]], dim=1)
        x = run_blocks(self.blocks, x, recompute=self.encoder.recompute)
        restored = self.head(self.norm(x[:, seen.shape[1] :]))  # (B·W, h, F/W·P)
        return restored.unflatten(0, (-1, steps)).transpose(1, 2).flatten(2)


def take(x: Tensor, index: Tensor) -> Tensor:
    """Select rows `index` (B, k) of `x` (B, n, d), sample by sample."""
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[-1]))


def make_encoder(
    config: LLM4BrainConfig, n_tokens: int, centers_mm: Tensor
) -> tuple[LLM4BrainConfig, nn.Module, int, int]:
    """Build the encoder of a configuration: SC-MBM, or the class it names.

    Parameters
    ----------
    config : LLM4BrainConfig
    n_tokens : int
        Tokens of a step.
    centers_mm : Tensor, (n_tokens, 3) float64

    Returns
    -------
    config : LLM4BrainConfig
        With the digest of the source of a custom encoder.
    encoder : Module
    tokens, dim : int
        Shape of the output of the encoder for one window.

    Raises
    ------
    ConfigError, CheckpointError
        As :func:`build_encoder`.
    """
    sizes, own = config.encoder, config.custom_encoder
    if own is None:
        encoder = SCMBM(sizes, centers_mm, adapter=config.adapter)
        return config, encoder, sizes.steps * (1 + n_tokens), sizes.dim
    module: Any = build_encoder(own, dim=sizes.dim, steps=sizes.steps, centers_mm=centers_mm)
    return replace(config, custom_encoder=pinned(own)), module, module.out_tokens, module.out_dim
