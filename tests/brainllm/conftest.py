"""Tiny language models."""

from small_run import language, language_folder  # noqa: F401
from tiny_models import make_llm  # noqa: F401
