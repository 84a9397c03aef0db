"""What the training of the autoencoder is told, and its presets."""

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
    """Weights of the autoencoder's losses; the commitment's is the quantiser's.

    Parameters
    ----------
    signal, spectrum : float
        Squared errors of the series and of the amplitude spectrum of its patches.
    domain : float
        Cross-entropy of the domain classifier behind the gradient reversal; 0 builds none.
    contrastive : float
        Of recordings and their descriptions; 0 builds none.
    text_tokens : int
        Token embeddings drawn for a batch of the domain classifier.
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
    """The stage that trains the autoencoder.

    Parameters
    ----------
    frames : int
        Of a window.
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

VQ_PRESETS: dict[str, tuple[VQAutoencoderConfig, VQStageConfig]] = {
    # what the poster prints is the architecture alone; sizes are those of BrainLM's small model
    "poster": (
        VQAutoencoderConfig(
            regions=424,
            patch=20,
            dim=256,
            depth=4,
            heads=4,
            decoder_depth=2,
            spectrum=False,
            quantiser=_REVIVED,
        ),
        VQStageConfig(
            epochs=50,
            batch_size=16,
            frames=200,
            optim=_OURS,
            weights=VQLosses(spectrum=0.0, domain=1.0),
        ),
    ),
    # no dead-code revival there, and padding entered the codebook; the second is mended here
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
    # whether the adversary helps is open (poster: it costs 0.03 of R²): off until asked for
    "fastbrain": (
        VQAutoencoderConfig(regions=424, quantiser=_REVIVED),
        VQStageConfig(epochs=50, batch_size=16, frames=160, optim=_OURS),
    ),
}


@checked
def vq_preset(
    name: str = "fastbrain", *, regions: int, small: bool = False
) -> tuple[VQAutoencoderConfig, VQStageConfig]:
    """Sizes and training as the poster, NeuroLM, or we would have them.

    Parameters
    ----------
    name : {"fastbrain", "poster", "neurolm"}
        "poster": "Towards a language model for brain activity recordings"; it prints autoencoder,
        quantiser and domain classifier, no sizes. "neurolm": arXiv 2409.00101 and its code, on
        patches of regions. "fastbrain": 512 wide, spectrum, dead-code revival, no adversary.
    regions : int
    small : bool
        The same losses at sizes for a CPU: 64 wide, two blocks, 64 codes of 16 that follow the
        encoder faster (decay 0.9), patches of 5 in windows of 40 frames.

    Raises
    ------
    ConfigError
        The preset is unknown.
    """
    if name not in VQ_PRESETS:
        raise ConfigError(f"vq_preset: name must not be '{name}'.{suggest(name, VQ_PRESETS)}")
    model, stage = VQ_PRESETS[name]
    model = replace(model, regions=regions)
    if small:
        quantiser = replace(model.quantiser, codes=64, dim=16, decay=0.9, levels=(4, 4, 4))
        model = replace(
            model, patch=5, dim=64, depth=2, heads=4, decoder_depth=1, quantiser=quantiser
        )
        stage = replace(
            stage,
            frames=40,
            batch_size=16,
            epochs=20,
            optim=replace(stage.optim, lr=1e-3, warmup_steps=10),
        )
    return model, stage
