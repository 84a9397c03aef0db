"""Tiny language models."""

from tiny_models import (  # noqa: F401
    make_llm,
)
