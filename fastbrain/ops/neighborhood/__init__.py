"""Neighborhood clustering over a memory bank, and entropy separation."""

from .op import entropy_separation, memory_update_, neighborhood_clustering

__all__ = [
    "entropy_separation",
    "memory_update_",
    "neighborhood_clustering",
]
