"""Layers and blocks that the systems share, and how their configurations are written."""

from .blocks import Block
from .config import AdaptorConfig, VideoConfig
from .frame_encoder import FrameEncoder
from .layers import AdaptedLinear, Adaptor, adaptors_off
from .positions import brain_positions
from .state_dict import load_strict

__all__ = [
    "AdaptedLinear",
    "Adaptor",
    "AdaptorConfig",
    "Block",
    "FrameEncoder",
    "VideoConfig",
    "adaptors_off",
    "brain_positions",
    "load_strict",
]
