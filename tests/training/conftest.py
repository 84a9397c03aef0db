"""A tiny cohort and model, without files."""

from tiny_training import (  # noqa: F401
    frames,
    grid,
    language,
    make_loader,
    make_model,
)
