"""Preprocess volumes one by one while a run is recorded.

Every volume is aligned with a reference, brought onto the grid of the model, checked, and enters
statistics of fixed size: memory does not grow with the run.
"""

from .pipeline import VolumePipeline
from .preprocessed import Preprocessed
from .rigid import framewise_displacement, rigid_matrix, rigid_parameters
from .settings import PreprocessSettings

__all__ = [
    "PreprocessSettings",
    "Preprocessed",
    "VolumePipeline",
    "framewise_displacement",
    "rigid_matrix",
    "rigid_parameters",
]
