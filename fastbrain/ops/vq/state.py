"""State of the codebook update: codes and their moving averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from .codebook import check_codebook


@dataclass(frozen=True)
class VQState:
    """Codebook and its running averages; all three tensors are updated in place.

    Parameters
    ----------
    codebook : Tensor, (C, D) float32 or float64
    count : Tensor, (C,)
        Moving average of the number of rows assigned to each code in a batch.
    total : Tensor, (C, D)
        Moving average of the sum of the rows assigned to each code.
    """

    codebook: Tensor
    count: Tensor
    total: Tensor

    @classmethod
    def from_codebook(cls, codebook: Tensor) -> VQState:
        """Make a state from a codebook, with a count of 1 for every code.

        Parameters
        ----------
        codebook : Tensor, (C, D) float

        Raises
        ------
        InputError
            The codebook is empty, not finite, or not (C, D).
        """
        check_codebook("VQState", codebook, None)
        wide = torch.promote_types(codebook.dtype, torch.float32)
        codes = codebook.detach().to(wide, copy=True)
        return cls(codes, codes.new_ones(len(codes)), codes.clone())


class UpdateProblem(NamedTuple):
    """Checked arguments of ``vq_update_``."""

    state: VQState
    x: Tensor
    indices: Tensor
    decay: float
    mask: Tensor | None
    group: dist.ProcessGroup | None
