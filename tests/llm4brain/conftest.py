"""Tiny models, and a small store with a model for it."""

from figures_once import figures_once  # noqa: F401
from small_run import language, language_folder, model, store  # noqa: F401
from tiny_models import (  # noqa: F401
    centers,
    grid,
    make_llm,
    make_model,
    small_config,
    voxels,
)
