"""A tiny cohort and model without files, and a small store."""

from small_run import store  # noqa: F401
from tiny_training import (  # noqa: F401
    frames,
    grid,
    language,
    make_loader,
    make_model,
)
