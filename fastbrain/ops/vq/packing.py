"""Pack a codebook once for many lookups."""

from __future__ import annotations

import torch
from torch import Tensor

from . import cpu
from .codebook import PackedCodebook, check_codebook, check_metric, is_tiny, weights_of


def pack_codebook(codebook: Tensor, *, metric: str = "euclidean") -> PackedCodebook:
    """Check and rearrange a codebook once, to make lookups of few rows fast.

    Parameters
    ----------
    codebook : Tensor, (C, D) float
    metric : {"euclidean", "cosine"}

    Returns
    -------
    PackedCodebook
        For :func:`vq_lookup` with the same metric, until `codebook` changes.

    Raises
    ------
    InputError
        Shape, dtype or metric is invalid, or a code is not finite.
    """
    fits = check_codebook("pack_codebook", codebook, None)
    check_metric("pack_codebook", metric)
    codes = codebook.detach()
    # while compiling, and in inference mode, versions cannot be read
    unknown = torch.compiler.is_compiling() or codebook.is_inference()
    version = None if unknown else codebook._version
    panels = weights = None
    if codes.device.type != "cpu":
        weights = weights_of(codes, metric)
    elif fits and not (metric == "euclidean" and is_tiny(codes)):
        panels = cpu.pack(codes, metric)
    return PackedCodebook(codebook, metric, panels, weights, version)
