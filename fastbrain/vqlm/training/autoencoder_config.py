"""Configuration of the training of the autoencoder, and presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..._arguments import checked
from ...errors import ConfigError
from ...nn.config_io import from_dict, require, suggest
from ...training.config import OptimConfig, StageConfig
from ..config import QuantiserConfig, VQAutoencoderConfig


@checked(error=ConfigError)
@dataclass(frozen=True)
class VQLosses:
    """Weights of the losses of the autoencoder; the commitment weight is in QuantiserConfig.

    Parameters
    ----------
    signal, spectrum : float
        Weights of the squared errors of the series and of the amplitude spectrum of its patches.
    domain : float
        Weight of the cross-entropy of the adversarial domain classifier; 0 builds no classifier.
    contrastive : float
        Weight of the contrastive loss of recordings and descriptions; 0 builds no projections.
    text_tokens : int
        Number of token embeddings drawn for each batch of the domain classifier.
    """

    signal: float = 1.0
    spectrum: float = 1.0
    domain: float = 0.0
    contrastive: float = 0.0
    text_tokens: int = 256

    def __post_init__(self) -> None:
        for name in ("signal", "spectrum", "domain", "contrastive"):
            require(self, name, getattr(self, name) >= 0, "be 0 or more")
        require(self, "signal", self.signal + self.spectrum > 0, "be positive, or spectrum")
        require(self, "text_tokens", self.text_tokens >= 2, "be 2 or more")


@checked(error=ConfigError)
@dataclass(frozen=True)
class VQStageConfig(StageConfig):
    """Configuration of the training stage of the autoencoder.

    Parameters
    ----------
    frames : int
        Frames of a window.
    weights : VQLosses
    """

    name: str = "vq"
    frames: int = 160
    weights: VQLosses = field(default_factory=VQLosses)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "frames", self.frames >= 1, "be 1 or more")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VQStageConfig:
        """Build from a plain dict; an unknown key is a :class:`ConfigError`."""
        return from_dict(cls, values)


_NEUROLM = OptimConfig(lr=5e-5, weight_decay=1e-4, betas=(0.9, 0.999), warmup_steps=500, min_lr=0.2)
_REVIVED = QuantiserConfig(commitment=0.25, dead_below=0.1)
_OURS = OptimConfig(lr=3e-4, weight_decay=0.05, warmup_steps=200)

SMALL = "-small"
_FULL: dict[str, tuple[VQAutoencoderConfig, VQStageConfig]] = {
    # the poster gives the parts but no sizes: width, depth, windows and patches are those of models
    # of whole-brain parcellations (fMRI-LM, BrainLM: 424 to 450 regions, 160 to 200 frames)
    "poster": (
        VQAutoencoderConfig(regions=424, spectrum=False, quantiser=_REVIVED),
        VQStageConfig(
            epochs=50,
            batch_size=16,
            frames=200,
            optim=_OURS,
            weights=VQLosses(spectrum=0.0, domain=1.0),
        ),
    ),
    # NeuroLM does not revive dead codes, and padding enters its codebook; here padding does not
    "neurolm": (
        VQAutoencoderConfig(
            regions=424,
            patch=20,
            dim=768,
            depth=12,
            heads=12,
            quantiser=QuantiserConfig(dead_below=0.0),
        ),
        VQStageConfig(
            epochs=50, batch_size=64, frames=200, optim=_NEUROLM, weights=VQLosses(domain=1.0)
        ),
    ),
    # off by default, because a benefit of the adversary is not shown (poster: it costs 0.03 of R²)
    "fastbrain": (
        VQAutoencoderConfig(regions=424, quantiser=_REVIVED),
        VQStageConfig(epochs=50, batch_size=16, frames=160, optim=_OURS),
    ),
}


def _small(
    model: VQAutoencoderConfig, stage: VQStageConfig
) -> tuple[VQAutoencoderConfig, VQStageConfig]:
    quantiser = replace(model.quantiser, codes=64, dim=16, decay=0.9, levels=(4, 4, 4))
    model = replace(model, patch=5, dim=64, depth=2, heads=4, decoder_depth=1)
    optim = replace(stage.optim, lr=1e-3, warmup_steps=10)
    return (
        replace(model, quantiser=quantiser),
        replace(stage, frames=40, batch_size=16, epochs=20, optim=optim),
    )


VQ_PRESETS = _FULL | {name + SMALL: _small(*preset) for name, preset in _FULL.items()}


@checked
def vq_preset(
    name: str = "fastbrain", *, regions: int
) -> tuple[VQAutoencoderConfig, VQStageConfig]:
    """Return sizes and training options of a preset: poster, NeuroLM, or ours.

    Parameters
    ----------
    name : str
        "poster": "Towards a language model for brain activity recordings". It gives autoencoder,
        quantiser and domain classifier but no sizes; those here are our inference: width 512, eight
        blocks, windows of 200 frames in patches of 20, 8192 codes of width 128. "neurolm": arXiv
        2409.00101 and its code, on patches of regions. "fastbrain": width 512, spectrum, dead-code
        revival, no adversary. "poster-small", "neurolm-small", "fastbrain-small": the same losses
        at sizes for a CPU, which are not those of any paper: width 64, two blocks, 64 codes of
        width 16 with decay 0.9, patches of 5 in windows of 40 frames.
    regions : int

    Raises
    ------
    ConfigError
        The preset is unknown.
    """
    if name not in VQ_PRESETS:
        raise ConfigError(f"vq_preset: name must not be '{name}'.{suggest(name, VQ_PRESETS)}")
    model, stage = VQ_PRESETS[name]
    return replace(model, regions=regions), stage
