"""Training presets of BrainLLM: paper, published code, and ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..._arguments import checked
from ...errors import ConfigError
from ...nn.config_io import from_dict, require, suggest, to_dict
from ...training.config import OptimConfig, StageConfig


@checked(error=ConfigError)
@dataclass(frozen=True)
class BrainLLMTraining:
    """Options of :func:`train_brainllm`.

    Parameters
    ----------
    warmup, tune : StageConfig or None
        None skips the stage.
    target : {"continuation", "prompt"}
        Text from which the target of the warm-up, a mean word vector, is computed.
    keep : {"newest", "oldest"}
        Which end of a prompt that is too long is kept.
    max_prompt_tokens, max_text_tokens : int
        A longer text raises an error; a longer prompt is cut.
    end : bool
        Whether the end token follows each text: true for whole sentences, false for stretches of
        a story.
    steering_penalties : tuple of float
        Candidate L2 penalties on the steering; the validation part chooses among them.
    """

    warmup: StageConfig | None = None
    tune: StageConfig | None = None
    target: str = "continuation"
    keep: str = "newest"
    max_prompt_tokens: int = 64
    max_text_tokens: int = 64
    end: bool = True
    steering_penalties: tuple[float, ...] = field(default=(0.3, 1.0, 3.0, 10.0))

    def __post_init__(self) -> None:
        known = ("continuation", "prompt")
        require(self, "target", self.target in known, f"be one of {known}")
        require(self, "keep", self.keep in ("newest", "oldest"), "be newest or oldest")
        require(self, "max_prompt_tokens", self.max_prompt_tokens >= 0, "be 0 or more")
        require(self, "max_text_tokens", self.max_text_tokens >= 1, "be 1 or more")
        positive = bool(self.steering_penalties) and min(self.steering_penalties) > 0
        require(self, "steering_penalties", positive, "be positive")

    def to_dict(self) -> dict[str, Any]:
        """Convert to a plain dict for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BrainLLMTraining:
        """Build from a plain dict; an unknown key raises :class:`ConfigError`."""
        return from_dict(cls, values)


@checked
def brainllm_preset(name: str = "fastbrain") -> BrainLLMTraining:
    """Return a training preset of BrainLLM; docs/brainllm.md lists the differences and reasons.

    Parameters
    ----------
    name : {"paper", "published-code", "fastbrain"}

    Returns
    -------
    BrainLLMTraining

    Raises
    ------
    ConfigError
        The name is unknown.
    """
    if name not in _PRESETS:
        raise ConfigError(f"brainllm_preset: name must not be {name!r}.{suggest(name, _PRESETS)}")
    return _PRESETS[name]


def _adam(lr: float, clip: float) -> OptimConfig:
    return OptimConfig(
        lr=lr, weight_decay=0.0, betas=(0.9, 0.999), warmup_steps=0, schedule="constant",
        grad_clip=clip,
    )  # fmt: skip


_WARMUP = StageConfig(
    name="warmup", epochs=10, batch_size=8, seed=2021, optim=_adam(1e-3, 0.1), patience=0
)
_TUNE = StageConfig(
    name="tune", epochs=100, batch_size=8, seed=2021, optim=_adam(1e-4, 10.0), patience=10
)
_PRESETS = {
    "paper": BrainLLMTraining(
        _WARMUP, _TUNE, target="continuation", max_prompt_tokens=32, max_text_tokens=32, end=False
    ),
    "published-code": BrainLLMTraining(
        _WARMUP,
        _TUNE,
        target="prompt",
        keep="oldest",
        max_prompt_tokens=32,
        max_text_tokens=32,
        end=False,
    ),
    "fastbrain": BrainLLMTraining(
        StageConfig(name="warmup", epochs=10, batch_size=16, optim=_adam(1e-3, 1.0), patience=3),
        StageConfig(
            name="tune",
            epochs=40,
            batch_size=16,
            optim=OptimConfig(lr=3e-4, weight_decay=0.01, grad_clip=1.0),
            patience=5,
        ),
    ),
}
BRAINLLM_PRESETS = tuple(_PRESETS)
PAPER_FEATURES = 1000  # principal components of a volume in the paper
