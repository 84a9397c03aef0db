"""Triton kernels for fMRI: voxel tokenizer, adapted layers, nearest codes, neighbourhoods."""

from . import lora, lora_narrow, neighborhood, tables, voxel_tokenizer, vq, vq_sums
from .lora import wide as lora_wide
from .lora_narrow import narrow as lora_narrow_gradients
from .voxel_tokenizer import backward as tokenize_voxels_backward
from .voxel_tokenizer import forward as tokenize_voxels
from .vq import nearest
from .vq_sums import segment_sums

__all__ = [
    "lora",
    "lora_narrow",
    "lora_narrow_gradients",
    "lora_wide",
    "nearest",
    "neighborhood",
    "segment_sums",
    "tables",
    "tokenize_voxels",
    "tokenize_voxels_backward",
    "voxel_tokenizer",
    "vq",
    "vq_sums",
]
