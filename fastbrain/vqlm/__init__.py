"""The fMRI language model: an adversarial VQ autoencoder and a language model on text and codes."""

from .alignment import (
    ContrastiveAlignment,
    DomainClassifier,
    DomainProbe,
    probe_domains,
    reversal_strength,
    reverse_gradient,
)
from .autoencoder import Reconstruction, VQAutoencoder
from .config import QuantiserConfig, VQAutoencoderConfig
from .quantiser import Quantised, ScalarQuantiser, VectorQuantiser
from .question import Question, recording_codes, spelled
from .saving import CoderCard, load_vq, save_vq

__all__ = [
    "CoderCard",
    "ContrastiveAlignment",
    "DomainClassifier",
    "DomainProbe",
    "Quantised",
    "QuantiserConfig",
    "Question",
    "Reconstruction",
    "ScalarQuantiser",
    "VQAutoencoder",
    "VQAutoencoderConfig",
    "VectorQuantiser",
    "load_vq",
    "probe_domains",
    "recording_codes",
    "reversal_strength",
    "reverse_gradient",
    "save_vq",
    "spelled",
]
