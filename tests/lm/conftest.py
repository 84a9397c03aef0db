"""Tiny models."""

from tiny_models import (  # noqa: F401
    centers,
    grid,
    make_llm,
    make_model,
    small_config,
    voxels,
)
