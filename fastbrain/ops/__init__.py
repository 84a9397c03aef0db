"""The kernel families: meaning, reference, choice of backend and gradient of each op."""

from ..grid import TokenGrid
from ._dispatch import Explanation, backend, explain, observed
from ._lora_checks import LoraWeights
from ._vq_codebook import PackedCodebook, pack_codebook
from ._vq_kmeans import vq_init, vq_replace_dead_
from ._vq_update import VQState, vq_update_
from .lora import lora_attention, lora_linear
from .neighborhood import entropy_separation, memory_update_, neighborhood_clustering
from .voxel_tokenizer import tokenize_voxels
from .vq import vq_lookup

__all__ = [
    "Explanation",
    "LoraWeights",
    "PackedCodebook",
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
    "pack_codebook",
    "tokenize_voxels",
    "vq_init",
    "vq_lookup",
    "vq_replace_dead_",
    "vq_update_",
]
