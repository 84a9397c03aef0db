"""Configurations of shared parts: adapters and the frame encoder."""

from __future__ import annotations

from dataclasses import dataclass

from .._arguments import checked
from ..errors import ConfigError
from .config_io import require

ACTIVATIONS = ("gelu", "silu", "relu")
PLACES = ("query", "mlp", "cross")


@checked(error=ConfigError)
@dataclass(frozen=True)
class AdapterConfig:
    """Nonlinear low-rank adapter h + s·B(act(A h)) (LLM4Brain, section 3.1 and figure 2).

    Parameters
    ----------
    rank : int
        Rows of A. 0 builds the model without adapters.
    scale : float
        Factor s on the adapter's output.
    activation : {"gelu", "silu", "relu"} or None
        None gives plain LoRA.
    places : tuple of {"query", "mlp", "cross"}
        Layers with an adapter: the query projection of self-attention, both layers of the MLP
        (these two in the paper), and the query projection of the Q-Former's cross-attention.
    """

    rank: int = 8
    scale: float = 1.0
    activation: str | None = "gelu"
    places: tuple[str, ...] = PLACES

    def __post_init__(self) -> None:
        require(self, "rank", self.rank >= 0, "be 0 or more")
        require(
            self,
            "activation",
            self.activation is None or self.activation in ACTIVATIONS,
            f"be one of {ACTIVATIONS} or None",
        )
        known = bool(self.places) and set(self.places) <= set(PLACES)
        once = len(set(self.places)) == len(self.places)
        require(self, "places", known and once, f"be some of {PLACES}, each once; rank 0 for none")

    def at(self, place: str) -> AdapterConfig | None:
        """Return the configuration for a layer at `place`, or None if it has no adapter."""
        return self if self.rank and place in self.places else None


@checked(error=ConfigError)
@dataclass(frozen=True)
class VideoConfig:
    """Frame encoder of the video branch, used in training only.

    Parameters
    ----------
    frames : int
        Frames sampled from a clip (Video-LLaMA: 8).
    size : int
        Height and width of a frame in pixels.
    patch : int
        Height and width of a patch in pixels; must divide `size`.
    dim, depth, heads : int
    mlp_ratio : float
    """

    frames: int = 4
    size: int = 32
    patch: int = 8
    dim: int = 128
    depth: int = 2
    heads: int = 4
    mlp_ratio: float = 2.0

    def __post_init__(self) -> None:
        _require_heads(self, "dim", self.dim, self.heads)
        divides = 1 <= self.patch <= self.size and self.size % self.patch == 0
        require(self, "patch", divides, "divide size")
        require_mlp_ratio(self, self.mlp_ratio)
        for name in ("frames", "depth"):
            require(self, name, getattr(self, name) >= 1, "be 1 or more")


def require_mlp_ratio(config: object, ratio: float) -> None:
    """Raise unless the hidden width of an MLP is a positive multiple of its width."""
    require(config, "mlp_ratio", 0.0 < ratio <= 64.0, "lie between 0 and 64")


def _require_heads(config: object, name: str, dim: int, heads: int) -> None:
    holds = dim >= 1 and heads >= 1 and dim % heads == 0
    require(config, name, holds, f"be a positive multiple of the {heads} heads")
