"""Other packages that solve the same ops; each takes part where it is installed and can run."""

from __future__ import annotations

from ..registry import Provider
from . import adapters, codes, preparing, text

PEERS: tuple[Provider, ...] = (
    *adapters.PROVIDERS,
    *codes.PROVIDERS,
    *preparing.PROVIDERS,
    *text.PROVIDERS,
)
