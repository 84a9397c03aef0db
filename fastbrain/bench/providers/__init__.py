"""Other packages that solve the same ops; each takes part where it is installed and can run."""

from __future__ import annotations

from ..registry import Provider
from . import adapters, codes, llama_cpp, preparing, text

PEERS: tuple[Provider, ...] = (
    *adapters.PROVIDERS,
    *codes.PROVIDERS,
    *llama_cpp.PROVIDERS,
    *preparing.PROVIDERS,
    *text.PROVIDERS,
)
