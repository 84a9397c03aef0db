"""Training of BrainLLM: warm-up and prompt tuning."""

from .dataset import BrainTextLoader, BrainTexts
from .objectives import PromptTuning, WarmUp
from .pipeline import BrainLLMRunConfig, audit_brainllm, train_brainllm_run
from .presets import BrainLLMTraining, brainllm_preset
from .stages import train_brainllm
from .steering import SteeringFit, fit_steering

__all__ = [
    "BrainLLMRunConfig",
    "BrainLLMTraining",
    "BrainTextLoader",
    "BrainTexts",
    "PromptTuning",
    "SteeringFit",
    "WarmUp",
    "audit_brainllm",
    "brainllm_preset",
    "fit_steering",
    "train_brainllm",
    "train_brainllm_run",
]
