"""Linear layers and attention with low-rank adapters."""

from .checks import LoraWeights
from .op import lora_attention, lora_linear

__all__ = [
    "LoraWeights",
    "lora_attention",
    "lora_linear",
]
