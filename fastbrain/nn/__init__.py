"""Layers and blocks shared by the systems, and the reading and writing of configurations."""

from .blocks import Block
from .config import AdapterConfig, VideoConfig
from .frame_encoder import FrameEncoder
from .layers import AdaptedLinear, Adapter, adapters_off
from .positions import brain_positions
from .state_dict import load_strict

__all__ = [
    "AdaptedLinear",
    "Adapter",
    "AdapterConfig",
    "Block",
    "FrameEncoder",
    "VideoConfig",
    "adapters_off",
    "brain_positions",
    "load_strict",
]
