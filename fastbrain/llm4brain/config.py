"""Sizes of the model.

What the paper does not say (adapter rank, pooling, the Q-Former's depth in the fMRI branch) is a
field here with a documented default, never a constant in code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._arguments import checked
from ..errors import ConfigError
from ..nn.config import ACTIVATIONS, AdapterConfig, VideoConfig, _require_heads
from ..nn.config_io import from_dict, require, to_dict


@checked(error=ConfigError)
@dataclass(frozen=True)
class TokenizerConfig:
    """Spatio-temporal tokenizer: strided 3-D convolution in one to three stages.

    The kernel and stride of the first stage are those of the store's grid, in voxels.

    Parameters
    ----------
    kernels : tuple of int
        Later stages, at most two: side of the cube of tokens that each joins into one. Tokens that
        hold no brain count as zero. (): one stage.
    strides : tuple of int
        Step of each later stage, in tokens, at most its kernel. (): the kernels. In pretraining, a
        hidden patch that overlaps others can be seen in part.
    width : int
        Width of tokens between stages. 0: the encoder's.
    activation : {"gelu", "silu", "relu"} or None
        Between stages; None joins linearly.
    frames : int
        Temporal kernel: volumes that a token reads, as channels. The steps of a window
        (``EncoderConfig.steps``) begin at even distances. 0: the steps lie side by side.
    """

    kernels: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    width: int = 0
    activation: str | None = "gelu"
    frames: int = 0

    def __post_init__(self) -> None:
        require(self, "kernels", len(self.kernels) <= 2, "be two later stages at most")
        require(self, "kernels", all(k >= 2 for k in self.kernels), "be 2 or more each")
        fits = len(self.strides) in (0, len(self.kernels)) and all(
            1 <= s <= k for s, k in zip(self.strides, self.kernels, strict=False)
        )
        require(self, "strides", fits, f"be one for each of {self.kernels}, at most as large")
        require(self, "width", self.width >= 0, "be 0 or more")
        known = self.activation is None or self.activation in ACTIVATIONS
        require(self, "activation", known, f"be one of {ACTIVATIONS} or None")
        require(self, "frames", self.frames >= 0, "be 0 or more")


@checked(error=ConfigError)
@dataclass(frozen=True)
class EncoderConfig:
    """fMRI encoder (SC-MBM: a ViT trained by masked autoencoding).

    Parameters
    ----------
    dim, depth, heads : int
        Width, blocks and attention heads. SC-MBM itself: 1024, 24, 16.
    mlp_ratio : float
        Hidden width of the MLP over `dim`; SC-MBM uses 1.0.
    steps : int
        Parts W of a window, joined by temporal attention in every block (Mind-Video: 2). 1: all
        volumes are channels of one token.
    positions : {"brain", "table"}
        "brain": sine-cosine code of patch centres in mm; "table": one saved with the weights.
    dropout : float
    mask_ratio : float
        Part of the tokens hidden while pretraining (SC-MBM: 0.75).
    decoder_dim, decoder_depth, decoder_heads : int
        The decoder of pretraining, thrown away afterwards.
    tokenizer : TokenizerConfig
        What makes the tokens.
    """

    dim: int = 128
    depth: int = 2
    heads: int = 4
    mlp_ratio: float = 1.0
    steps: int = 1
    positions: str = "brain"
    dropout: float = 0.0
    mask_ratio: float = 0.75
    decoder_dim: int = 64
    decoder_depth: int = 1
    decoder_heads: int = 4
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)

    def __post_init__(self) -> None:
        _require_heads(self, "dim", self.dim, self.heads)
        _require_heads(self, "decoder_dim", self.decoder_dim, self.decoder_heads)
        for name in ("depth", "decoder_depth", "steps"):
            require(self, name, getattr(self, name) >= 1, "be 1 or more")
        require(self, "mlp_ratio", 0.0 < self.mlp_ratio <= 64.0, "lie between 0 and 64")
        require(self, "positions", self.positions in ("brain", "table"), "be brain or table")
        require(self, "mask_ratio", 0.0 < self.mask_ratio < 1.0, "lie between 0 and 1")
        require(self, "dropout", 0.0 <= self.dropout < 1.0, "be in [0, 1)")


@checked(error=ConfigError)
@dataclass(frozen=True)
class QFormerConfig:
    """Query transformer shared by the video and the fMRI branch.

    Parameters
    ----------
    dim, depth, heads : int
        Width, blocks and heads. Video-LLaMA's video Q-Former: 768, 2, 12.
    mlp_ratio : float
    n_queries : int
        Learned queries L, the number of prefix tokens the LLM sees (paper: 32).
    cross_every : int
        Blocks 0, n, 2n, ... read the context (BLIP-2: 2; Video-LLaMA: 1).
    bert : bool
        Layout of BERT, for published weights: sums are normalised, cross-attentions project.
    dropout : float
    """

    dim: int = 128
    depth: int = 2
    heads: int = 4
    mlp_ratio: float = 4.0
    n_queries: int = 32
    cross_every: int = 1
    bert: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _require_heads(self, "dim", self.dim, self.heads)
        for name in ("depth", "n_queries"):
            require(self, name, getattr(self, name) >= 1, "be 1 or more")
        require(self, "cross_every", self.cross_every >= 1, "be 1 or more")
        require(self, "dropout", 0.0 <= self.dropout < 1.0, "be in [0, 1)")


@checked(error=ConfigError)
@dataclass(frozen=True)
class LLM4BrainConfig:
    """Every size of :class:`LLM4Brain`.

    Parameters
    ----------
    frames : int
        Volumes F of a window, read as channels by the tokenizer.
    encoder : EncoderConfig
    qformer : QFormerConfig
    video : VideoConfig
    adapter : AdapterConfig
        The same adapter in the query projections and MLPs of encoder and Q-Former.
    bridge_tokens : int
        Context tokens the bridge mixes the encoder's tokens into; 0 hands all of them on.
    readout_rank : int
        Rank of the linear readout beside the Q-Former, which starts as a ridge regression; 0
        builds none, as in the paper.
    n_classes : int
        Prototypes C of the class head g (paper: 180 or 100); 0 builds no head.
    pool : {"mean", "flatten"}
        How the L latents become one vector for the contrastive and clustering losses. The paper
        does not say.
    subjects : {"embedding", "affine"} or None
        What the tokenizer knows of whose brain it reads
        (:class:`fastbrain.llm4brain.SubjectTable`): a vector a person, or a gain and a shift.
        None: all people alike, as in the paper.
    people : tuple of str
        Labels of those who have an entry; `fastbrain train` takes them from the store.
    unknown_subject : {"refuse", "mean"}
        A window of anybody else: an error, or the mean of all entries.
    tau : float
        Start of the contrastive temperature (paper: 0.05).
    prompt_first : bool
        Layout [BOS | prompt | prefix | answer] in place of [BOS | prefix | prompt | answer]; a
        constant prompt in front can be cached once for all decodes.
    """

    frames: int = 2
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    qformer: QFormerConfig = field(default_factory=QFormerConfig)
    video: VideoConfig = field(default_factory=VideoConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    bridge_tokens: int = 64
    readout_rank: int = 64
    n_classes: int = 0
    pool: str = "mean"
    subjects: str | None = None
    people: tuple[str, ...] = ()
    unknown_subject: str = "refuse"
    tau: float = 0.05
    prompt_first: bool = False

    def __post_init__(self) -> None:
        require(self, "frames", self.frames >= 1, "be 1 or more")
        whole = self.frames % self.encoder.steps == 0
        require(self, "frames", whole, f"be a multiple of the {self.encoder.steps} steps")
        require(self, "bridge_tokens", self.bridge_tokens >= 0, "be 0 or more")
        require(self, "readout_rank", self.readout_rank >= 0, "be 0 or more")
        require(self, "n_classes", self.n_classes >= 0, "be 0 or more")
        require(self, "pool", self.pool in ("mean", "flatten"), "be 'mean' or 'flatten'")
        kinds = (None, "embedding", "affine")
        require(self, "subjects", self.subjects in kinds, f"be one of {kinds}")
        known = len(set(self.people)) == len(self.people)
        require(self, "people", known, "name nobody twice")
        modes = ("refuse", "mean")
        require(self, "unknown_subject", self.unknown_subject in modes, f"be one of {modes}")
        require(self, "tau", self.tau > 0, "be positive")

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LLM4BrainConfig:
        """Build from a plain dict; an unknown key is a :class:`ConfigError`."""
        return from_dict(cls, values)
