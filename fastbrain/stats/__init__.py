"""Statistics: ridge regression, intervals, tests, agreement, and derangements across runs."""

from .agreement import fleiss_kappa, krippendorff_alpha
from .binomial import binomial_interval, binomial_p
from .crossed import crossed_interval
from .derangements import Pairs, derangements, needed_pairs
from .folds import group_folds
from .inference import (
    Interval,
    adjusted_p,
    bootstrap_interval,
    effect_size,
    permutation_p,
    sign_flip_p,
)
from .ridge import Ridge, fit_ridge, fold_means

__all__ = [
    "Interval",
    "Pairs",
    "Ridge",
    "adjusted_p",
    "binomial_interval",
    "binomial_p",
    "bootstrap_interval",
    "crossed_interval",
    "derangements",
    "effect_size",
    "fit_ridge",
    "fleiss_kappa",
    "fold_means",
    "group_folds",
    "krippendorff_alpha",
    "needed_pairs",
    "permutation_p",
    "sign_flip_p",
]
