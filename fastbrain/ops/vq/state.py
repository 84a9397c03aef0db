"""Codebook, counts and sums of a moving average: what training updates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .codebook import check_codebook


@dataclass(frozen=True)
class VQState:
    """Codebook and its running averages; all three tensors are updated in place.

    Parameters
    ----------
    codebook : Tensor, (C, D) float32 or float64
    count : Tensor, (C,)
        Moving average of how often each code was used in a batch.
    total : Tensor, (C, D)
        Moving average of the sum of what each code was used for.
    """

    codebook: Tensor
    count: Tensor
    total: Tensor

    @classmethod
    def from_codebook(cls, codebook: Tensor) -> VQState:
        """Start from a codebook as if every code had been used once.

        Parameters
        ----------
        codebook : Tensor, (C, D) float

        Raises
        ------
        InputError
            It is no finite codebook.
        """
        check_codebook("VQState", codebook, None)
        wide = torch.promote_types(codebook.dtype, torch.float32)
        codes = codebook.detach().to(wide, copy=True)
        return cls(codes, codes.new_ones(len(codes)), codes.clone())
