"""Layers and blocks that the systems share, and how their configurations are written."""

from .blocks import (
    Block,
)
from .frame_encoder import (
    FrameEncoder,
)
from .layers import (
    AdaptedLinear,
    Adaptor,
    adaptors_off,
)
from .positions import (
    brain_positions,
)

__all__ = [
    "AdaptedLinear",
    "Adaptor",
    "Block",
    "FrameEncoder",
    "adaptors_off",
    "brain_positions",
]
