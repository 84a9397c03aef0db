"""Sizes of the model, and the one way a configuration goes to JSON and comes back.

What the paper does not say (adaptor rank, pooling, the Q-Former's depth in the fMRI branch) is a
field here with a documented default, never a constant in code.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from ..errors import ConfigError

C = TypeVar("C")

ACTIVATIONS = ("gelu", "silu", "relu")


@dataclass(frozen=True)
class AdaptorConfig:
    """Nonlinear low-rank adaptor h + s·B(act(A h)) (LLM4Brain, section 3.1 and figure 2).

    Parameters
    ----------
    rank : int
        Rows of A. 0 builds the model without adaptors.
    scale : float
        Factor s on the adaptor's output.
    activation : {"gelu", "silu", "relu"} or None
        None makes it plain LoRA.
    """

    rank: int = 8
    scale: float = 1.0
    activation: str | None = "gelu"

    def __post_init__(self) -> None:
        require(self, "rank", self.rank >= 0, "be 0 or more")
        require(
            self,
            "activation",
            self.activation is None or self.activation in ACTIVATIONS,
            f"be one of {ACTIVATIONS} or None",
        )


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

    def __post_init__(self) -> None:
        _require_heads(self, "dim", self.dim, self.heads)
        _require_heads(self, "decoder_dim", self.decoder_dim, self.decoder_heads)
        require(self, "steps", self.steps >= 1, "be 1 or more")
        require(self, "positions", self.positions in ("brain", "table"), "be brain or table")
        require(self, "mask_ratio", 0.0 < self.mask_ratio < 1.0, "lie between 0 and 1")
        require(self, "dropout", 0.0 <= self.dropout < 1.0, "be in [0, 1)")


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
        require(self, "n_queries", self.n_queries >= 1, "be 1 or more")
        require(self, "cross_every", self.cross_every >= 1, "be 1 or more")
        require(self, "dropout", 0.0 <= self.dropout < 1.0, "be in [0, 1)")


@dataclass(frozen=True)
class VideoConfig:
    """Frame encoder of the video branch, used while training only.

    Parameters
    ----------
    frames : int
        Frames sampled from a clip (Video-LLaMA: 8).
    size : int
        Side of a frame in pixels.
    patch : int
        Side of a patch in pixels; divides `size`.
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
        require(self, "patch", self.patch >= 1 and self.size % self.patch == 0, "divide size")
        require(self, "frames", self.frames >= 1, "be 1 or more")


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
    adaptor : AdaptorConfig
        The same adaptor in the query projections and MLPs of encoder and Q-Former.
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
    adaptor: AdaptorConfig = field(default_factory=AdaptorConfig)
    bridge_tokens: int = 64
    readout_rank: int = 64
    n_classes: int = 0
    pool: str = "mean"
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
        require(self, "tau", self.tau > 0, "be positive")

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LLM4BrainConfig:
        """Build from a plain dict; an unknown key is a :class:`ConfigError`."""
        return from_dict(cls, values)


def require(config: object, name: str, holds: bool, contract: str) -> None:
    """Raise a :class:`ConfigError` naming the field unless it holds."""
    if not holds:
        raise ConfigError(
            f"{type(config).__name__}: {name} must {contract}, got {getattr(config, name)!r}."
        )


def _require_heads(config: object, name: str, dim: int, heads: int) -> None:
    holds = dim >= 1 and heads >= 1 and dim % heads == 0
    require(config, name, holds, f"be a positive multiple of the {heads} heads")


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a frozen dataclass (nested ones too) into plain JSON values."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}


def from_dict(cls: type[C], values: Mapping[str, Any], *, where: str = "") -> C:
    """Rebuild a frozen dataclass from JSON values, refusing what it does not know.

    Parameters
    ----------
    cls : type
        A frozen dataclass.
    values : mapping
        Fields by name; fields left out keep their default.
    where : str
        Path of this part within the whole, for messages.

    Raises
    ------
    ConfigError
        A key is unknown (the nearest known one is suggested), required and missing, or of the
        wrong type.
    """
    label = where or cls.__name__
    if not isinstance(values, Mapping):
        raise ConfigError(f"config: {label} must be an object, got {type(values).__name__}.")
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(f"config: {label} must not have key '{key}'.{suggest(key, known)}")
    hints = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for name, spec in known.items():
        if name in values:
            arguments[name] = _convert(hints[name], values[name], f"{label}.{name}")
        elif spec.default is MISSING and spec.default_factory is MISSING:
            raise ConfigError(f"config: {label} must have key '{name}', got none.")
    return cls(**arguments)


def suggest(name: str, known: typing.Iterable[str]) -> str:
    """Sentence naming the closest known word, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(known)}."


def _convert(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return from_dict(hint, value, where=where)  # type: ignore[arg-type]
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    for option in options:
        if is_dataclass(option) and isinstance(value, Mapping):
            return from_dict(option, value, where=where)  # type: ignore[arg-type]
        if typing.get_origin(option) is tuple and isinstance(value, (list, tuple)):
            inner = typing.get_args(option)[0]
            return tuple(_convert(inner, item, where) for item in value)
        # a bool is an int to Python and a mistake in a configuration
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        option = typing.get_origin(option) or option
        if isinstance(option, type) and isinstance(value, option):
            if isinstance(value, bool) and option is not bool:
                continue
            return value
    raise ConfigError(f"config: {where} must be {hint}, got {value!r}.")
