"""Configuration of LLM4Brain: sizes of every part.

Values that the paper does not state (adapter rank, pooling, depth of the Q-Former in the fMRI
branch) are fields here with documented defaults, not constants in the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._arguments import checked
from ..errors import ConfigError
from ..nn.config import ACTIVATIONS, AdapterConfig, VideoConfig, _require_heads, require_mlp_ratio
from ..nn.config_io import from_dict, require, to_dict
from .custom_encoder import CustomEncoder


@checked(error=ConfigError)
@dataclass(frozen=True)
class TokenizerConfig:
    """Spatio-temporal tokenizer: strided 3-D convolution in one to three stages.

    The first stage uses the kernel and stride of the grid of the store, in voxels.

    Parameters
    ----------
    kernels : tuple of int
        Later stages, at most two: side of the cube of tokens that a stage merges into one token.
        Tokens without brain voxels count as zero. (): one stage.
    strides : tuple of int
        Stride of each later stage, in tokens, at most its kernel. (): equal to the kernels. If the
        stride is smaller, cubes overlap and a hidden token is partly visible in pretraining.
    width : int
        Width of tokens between stages. 0: the width of the encoder.
    activation : {"gelu", "silu", "relu"} or None
        Activation between stages; None: linear.
    frames : int
        Temporal kernel: number of volumes that a token reads as channels. The steps of a window
        (``EncoderConfig.steps``) start at even distances. 0: adjacent steps without overlap.
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
        Width, blocks and attention heads. Published SC-MBM: 1024, 24, 16.
    mlp_ratio : float
        Hidden width of the MLP divided by `dim`; SC-MBM uses 1.0.
    steps : int
        Number of steps W in a window, connected by temporal attention in every block (Mind-Video:
        2). 1: all volumes are channels of one token.
    positions : {"brain", "table"}
        "brain": sine-cosine code of patch centres in mm. "table": a table saved with the weights.
    dropout : float
    mask_ratio : float
        Fraction of the tokens hidden in pretraining (SC-MBM: 0.75).
    decoder_dim, decoder_depth, decoder_heads : int
        Decoder used in pretraining only.
    tokenizer : TokenizerConfig
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
        require_mlp_ratio(self, self.mlp_ratio)
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
        Learned queries L, the number of prefix tokens of the LLM (paper: 32).
    cross_every : int
        Blocks 0, n, 2n, ... have cross-attention (BLIP-2: 2; Video-LLaMA: 1).
    bert : bool
        BERT layout, for published weights: residual sums are normalised, and each cross-attention
        projects the context.
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
        require_mlp_ratio(self, self.mlp_ratio)
        require(self, "cross_every", self.cross_every >= 1, "be 1 or more")
        require(self, "dropout", 0.0 <= self.dropout < 1.0, "be in [0, 1)")


@checked(error=ConfigError)
@dataclass(frozen=True)
class LLM4BrainConfig:
    """Configuration of :class:`LLM4Brain`.

    Parameters
    ----------
    frames : int
        Number of volumes F in a window; the tokenizer reads them as channels.
    encoder : EncoderConfig
    qformer : QFormerConfig
    video : VideoConfig
    adapter : AdapterConfig
        Adapter in the query projections and MLPs of encoder and Q-Former.
    bridge_tokens : int
        Number of context tokens that the bridge computes from the encoder tokens. 0: the bridge
        keeps all encoder tokens.
    readout_rank : int
        Rank of the linear readout parallel to the Q-Former, which starts as a ridge regression.
        0: no readout, as in the paper.
    n_classes : int
        Number of prototypes C of the class head g (paper: 180 or 100). 0: no head.
    pool : {"mean", "flatten"}
        How the L latents are pooled to one vector for the contrastive and clustering losses. The
        paper does not state it.
    subjects : {"embedding", "affine"} or None
        Subject-specific parameters (:class:`fastbrain.llm4brain.SubjectTable`): a shift vector per
        subject, or a gain and a shift. None: no subject-specific parameters, as in the paper.
    people : tuple of str
        Labels of the subjects with an entry; `fastbrain train` takes them from the store.
    unknown_subject : {"refuse", "mean"}
        Windows of other subjects: raise an error, or use the mean of all entries.
    tau : float
        Initial contrastive temperature (paper: 0.05).
    prompt_first : bool
        Layout [BOS | prompt | prefix | answer] instead of [BOS | prefix | prompt | answer]. A
        constant prompt at the start can be cached once for all decodes.
    custom_encoder : CustomEncoder or None
        Class of the user in place of SC-MBM; `encoder` then has the width of the tokens, the steps
        and the tokenizer.
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
    custom_encoder: CustomEncoder | None = None

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
        require(self, "people", known, "name each subject once")
        modes = ("refuse", "mean")
        require(self, "unknown_subject", self.unknown_subject in modes, f"be one of {modes}")
        require(self, "tau", self.tau > 0, "be positive")

    def to_dict(self) -> dict[str, Any]:
        """Convert to a plain dict for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LLM4BrainConfig:
        """Build from a plain dict; an unknown key raises :class:`ConfigError`."""
        return from_dict(cls, values)
