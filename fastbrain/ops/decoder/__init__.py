"""One step of a decoder-only language model on the CPU, all layers in one call."""

from .cpu import FewRows, LinearWeights, NormWeights, can_step, likeliest

__all__ = ["FewRows", "LinearWeights", "NormWeights", "can_step", "likeliest"]
