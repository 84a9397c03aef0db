"""Evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and back as it was, also after an error."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)
