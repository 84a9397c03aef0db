"""Configuration of the VQ autoencoder and its quantiser."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._arguments import checked
from ..errors import ConfigError
from ..nn.config import require_mlp_ratio
from ..nn.config_io import from_dict, require, to_dict


@checked(error=ConfigError)
@dataclass(frozen=True)
class QuantiserConfig:
    """Options of the quantiser.

    Parameters
    ----------
    kind : {"vq", "fsq"}
        Learned codebook (van den Oord et al. 2017), or finite scalar quantisation (Mentzer et al.
        2023, arXiv 2309.15505), which has no codebook.
    codes, dim : int
        Size and width of the codebook (NeuroLM: 8192 and 128).
    metric : {"cosine", "euclidean"}
        For "cosine", vectors and codes have length one.
    decay : float
        Decay of the moving averages of the codebook. With 0.99 the codebook lags behind the
        encoder in a training of a few hundred steps; 0.9 avoids this.
    commitment : float
        Weight of the distance from a vector to its code.
    dead_below : float
        Codes used less than this fraction of the mean usage are replaced by rows of the batch; 0
        disables replacement.
    init_iterations : int
        Number of k-means iterations at initialisation.
    gradient : {"straight-through", "rotation"}
        Gradient estimator: the decoder's gradient is passed to the encoder unchanged, or rotated
        and scaled as code relative to vector (Fifty et al. 2024, arXiv 2410.06424).
    levels : tuple of int
        Number of levels of each dimension, for "fsq".
    """

    kind: str = "vq"
    codes: int = 8192
    dim: int = 128
    metric: str = "cosine"
    decay: float = 0.99
    commitment: float = 1.0
    dead_below: float = 0.03
    init_iterations: int = 10
    gradient: str = "straight-through"
    levels: tuple[int, ...] = (8, 8, 8, 5, 5)

    def __post_init__(self) -> None:
        require(self, "kind", self.kind in ("vq", "fsq"), "be 'vq' or 'fsq'")
        metrics = ("cosine", "euclidean")
        require(self, "metric", self.metric in metrics, "be 'cosine' or 'euclidean'")
        ways = ("straight-through", "rotation")
        require(self, "gradient", self.gradient in ways, f"be one of {ways}")
        require(self, "codes", self.codes >= 2, "be 2 or more")
        require(self, "dim", self.dim >= 1, "be 1 or more")
        require(self, "decay", 0 <= self.decay < 1, "be in [0, 1)")
        require(self, "commitment", self.commitment >= 0, "be 0 or more")
        require(self, "dead_below", 0 <= self.dead_below < 1, "be in [0, 1)")
        require(self, "init_iterations", self.init_iterations >= 0, "be 0 or more")
        holds = len(self.levels) >= 1 and all(level >= 2 for level in self.levels)
        require(self, "levels", holds, "be integers of 2 or more")

    @property
    def size(self) -> int:
        """Number of codes."""
        return self.codes if self.kind == "vq" else math.prod(self.levels)

    @property
    def width(self) -> int:
        """Width of the vectors that are quantised."""
        return self.dim if self.kind == "vq" else len(self.levels)


@checked(error=ConfigError)
@dataclass(frozen=True)
class VQAutoencoderConfig:
    """Sizes of :class:`VQAutoencoder`.

    Parameters
    ----------
    regions : int
        R, rows of a series.
    patch : int
        Frames per token.
    dim, depth, heads : int
        Width, blocks and attention heads of the encoder (NeuroLM: 768, 12, 12).
    mlp_ratio, dropout : float
    decoder_depth : int
        Blocks of each decoder (NeuroLM: 4).
    spectrum : bool
        Whether a second decoder reconstructs the amplitude spectrum of each patch.
    quantiser : QuantiserConfig
    text_dim : int or None
        Width of the language model's token embeddings, to which `to_text` maps the features; None
        for a model that is not aligned to text.
    """

    regions: int
    patch: int = 20
    dim: int = 512
    depth: int = 8
    heads: int = 8
    mlp_ratio: float = 4.0
    dropout: float = 0.0
    decoder_depth: int = 4
    spectrum: bool = True
    quantiser: QuantiserConfig = field(default_factory=QuantiserConfig)
    text_dim: int | None = None

    def __post_init__(self) -> None:
        require(self, "text_dim", self.text_dim is None or self.text_dim >= 1, "be 1 or more")
        require(self, "regions", self.regions >= 1, "be 1 or more")
        require(self, "patch", self.patch >= 1, "be 1 or more")
        holds = self.dim >= 6 and self.heads >= 1 and self.dim % self.heads == 0
        require(self, "dim", holds, f"be 6 or more and a multiple of the {self.heads} heads")
        require(self, "depth", self.depth >= 1, "be 1 or more")
        require_mlp_ratio(self, self.mlp_ratio)
        require(self, "decoder_depth", self.decoder_depth >= 0, "be 0 or more")
        require(self, "dropout", 0.0 <= self.dropout < 1.0, "be in [0, 1)")

    def to_dict(self) -> dict[str, Any]:
        """Convert to a plain dict for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VQAutoencoderConfig:
        """Build from a plain dict; an unknown key raises :class:`ConfigError`."""
        return from_dict(cls, values)
