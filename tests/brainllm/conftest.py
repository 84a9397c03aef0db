"""Tiny language models."""

from figures_once import figures_once  # noqa: F401
from small_run import language, language_folder  # noqa: F401
from tiny_models import make_llm  # noqa: F401
