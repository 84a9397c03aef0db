"""Public ops: contract, reference, choice of backend and gradient of each kernel family."""

from ..grid import TokenGrid
from ._dispatch import Explanation, backend, explain, observed
from .lora.checks import LoraWeights
from .lora.op import lora_attention, lora_linear
from .neighborhood.op import entropy_separation, memory_update_, neighborhood_clustering
from .voxel_tokenizer.op import tokenize_voxels
from .vq.codebook import PackedCodebook
from .vq.kmeans import vq_init, vq_replace_dead_
from .vq.lookup import vq_lookup
from .vq.packing import pack_codebook
from .vq.state import VQState
from .vq.update import vq_update_

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
