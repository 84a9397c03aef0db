"""Statistics: ridge regression, intervals, tests, and derangements across runs and blocks."""

from .derangements import Pairs, derangements, needed_pairs
from .inference import (
    Interval,
    adjusted_p,
    bootstrap_interval,
    effect_size,
    permutation_p,
    sign_flip_p,
)
from .ridge import Ridge, fit_ridge

__all__ = [
    "Interval",
    "Pairs",
    "Ridge",
    "adjusted_p",
    "bootstrap_interval",
    "derangements",
    "effect_size",
    "fit_ridge",
    "needed_pairs",
    "permutation_p",
    "sign_flip_p",
]
