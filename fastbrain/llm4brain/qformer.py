"""Q-Former: learned queries that attend to a context of any length."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..nn.blocks import BERT_EPS, Block, init_trunk, run_blocks
from ..nn.config import AdapterConfig
from .config import QFormerConfig


class QFormer(nn.Module):
    """Query transformer: in each block self-attention, cross-attention, MLP.

    The video and the fMRI branch share one Q-Former. The video branch runs it with adapters off,
    as it was trained, and the fMRI branch with adapters on (LLM4Brain, section 3.1).

    Parameters
    ----------
    config : QFormerConfig
    context_dim : int
        Width of the context. If it differs from the width of the Q-Former, it is projected.
    adapter : AdapterConfig, optional
    """

    def __init__(
        self, config: QFormerConfig, context_dim: int, *, adapter: AdapterConfig | None = None
    ) -> None:
        super().__init__()
        self.config, self.context_dim = config, context_dim
        self.recompute = False
        self.compiles = True
        self.queries = nn.Parameter(torch.randn(config.n_queries, config.dim))
        once = context_dim != config.dim and not config.bert
        self.context = nn.Linear(context_dim, config.dim) if once else nn.Identity()
        self.blocks = nn.ModuleList(
            Block(
                config.dim,
                config.heads,
                mlp_ratio=config.mlp_ratio,
                adapter=adapter,
                dropout=config.dropout,
                cross=i % config.cross_every == 0,
                context_dim=context_dim if config.bert else None,
                post_norm=config.bert,
            )
            for i in range(config.depth)
        )
        # BERT normalises the input of the first block; its blocks return normalised sums
        self.norm = nn.LayerNorm(config.dim, eps=BERT_EPS if config.bert else 1e-5)
        init_trunk(self.blocks)

    def forward(self, context: Tensor) -> Tensor:
        """Run the queries over a context.

        Parameters
        ----------
        context : Tensor, (B, S, context_dim)

        Returns
        -------
        Tensor, (B, n_queries, dim)
        """
        if context.ndim != 3 or context.shape[-1] != self.context_dim:
            raise InputError(
                f"QFormer: context must be (B, S, {self.context_dim}), got {tuple(context.shape)}."
            )
        context = self.context(context)
        x = self.queries.to(context.dtype).expand(len(context), -1, -1)
        if self.config.bert:
            return run_blocks(self.blocks, self.norm(x), context, recompute=self.recompute)
        return self.norm(run_blocks(self.blocks, x, context, recompute=self.recompute))
