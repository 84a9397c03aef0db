"""What a language model reads before the texts of a decoder."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Opening:
    """Input before the text of every row.

    Parameters
    ----------
    embeds : Tensor, (B, S, d)
        Embeddings of the brain and of the words around it.
    mask : Tensor, (B, S) bool, or None
        False on padding.
    logit_bias : Tensor, (B, V), or None
        Added to the logits of each step.
    prompt_ids : Tensor, (P,) int64, or None
        Tokens before `embeds` that all rows share, so that they can be read once.
    """

    embeds: Tensor
    mask: Tensor | None = None
    logit_bias: Tensor | None = None
    prompt_ids: Tensor | None = None
