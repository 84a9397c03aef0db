"""Adapters that change what a model says: the second factor, B, is zero in a new one."""

from __future__ import annotations

import torch

from fastbrain.nn import Adapter


def nonzero_lora(model: torch.nn.Module, *, std: float = 0.1) -> None:
    """Draw every B of the LoRA of PEFT in a model."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=std, generator=generator)


def nonzero_adapters(module: torch.nn.Module, *, std: float = 1.0) -> None:
    """Draw every B of the low-rank adapters in a module."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, Adapter):
            torch.nn.init.normal_(part.b, std=std, generator=generator)
