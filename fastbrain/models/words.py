"""Words as the stimulus: what stands in for the video branch where people read, heard or named."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class WordEncoder(nn.Module):
    """The frozen LLM's own word vectors with their place in the sentence.

    Give it to :class:`LLM4Brain` as `video`: the Q-Former then learns to say a text it is shown,
    and its latents are the targets of stage I.

    Parameters
    ----------
    llm : PreTrainedModel

    Attributes
    ----------
    dim : int
        Width of its tokens, that of the LLM.
    """

    def __init__(self, llm: Any) -> None:
        super().__init__()
        weight = llm.get_input_embeddings().weight.detach().float()
        # unit variance: LLMs differ by two orders of magnitude here
        self.register_buffer("table", weight / weight.std(), persistent=False)
        self.dim = int(weight.shape[1])

    table: Tensor

    def forward(self, ids: Tensor) -> Tensor:
        """Encode token ids (B, T) int64, padded with any id, to (B, T, dim)."""
        return self.table[ids] + _places(ids.shape[1], self.dim).to(self.table)


def _places(n: int, dim: int) -> Tensor:
    """Sine-cosine code of positions 0..n-1, (n, dim) (Vaswani et al. 2017, section 3.5)."""
    half = (dim + 1) // 2
    rate = 10_000.0 ** (-torch.arange(half) / half)
    angle = torch.arange(n)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)[:, :dim]
