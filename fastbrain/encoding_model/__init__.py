"""The encoding-model baseline (Tang et al. 2023): from words to predicted responses."""

from .decode import EncodedSearch, reconstruct_encoded
from .model import EncodingModel, fit_encoding
from .word_features import WordFeatures

__all__ = [
    "EncodedSearch",
    "EncodingModel",
    "WordFeatures",
    "fit_encoding",
    "reconstruct_encoded",
]
