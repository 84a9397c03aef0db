"""Vector quantisation: lookup of the nearest code, codebook update and k-means."""

from .codebook import PackedCodebook
from .kmeans import vq_init, vq_replace_dead_
from .lookup import vq_lookup
from .packing import pack_codebook
from .state import VQState
from .update import vq_update_

__all__ = [
    "PackedCodebook",
    "VQState",
    "pack_codebook",
    "vq_init",
    "vq_lookup",
    "vq_replace_dead_",
    "vq_update_",
]
