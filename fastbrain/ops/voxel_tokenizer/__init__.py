"""Voxel tokenizer."""

from .op import tokenize_voxels

__all__ = [
    "tokenize_voxels",
]
