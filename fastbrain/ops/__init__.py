"""The kernel families: meaning, reference, choice of backend and gradient of each op."""

from ..grid import TokenGrid
from ._dispatch import Explanation, backend, explain, observed
from ._lora_checks import LoraWeights
from .lora import lora_attention, lora_linear
from .neighborhood import entropy_separation, memory_update_, neighborhood_clustering
from .voxel_tokenizer import tokenize_voxels
from .vq import VQState, vq_lookup, vq_update_

__all__ = [
    "Explanation",
    "LoraWeights",
    "TokenGrid",
    "VQState",
    "backend",
    "entropy_separation",
    "explain",
    "lora_attention",
    "lora_linear",
    "memory_update_",
    "neighborhood_clustering",
    "observed",
    "tokenize_voxels",
    "vq_lookup",
    "vq_update_",
]
