"""Experiments that train or score many variants of one run: ablations, learning curves, regions."""

from .grid import Variant, run_variants
from .results import Cell, Results

__all__ = ["Cell", "Results", "Variant", "run_variants"]
