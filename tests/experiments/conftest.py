"""A small store, a small model and a finished run."""

from figures_once import figures_once  # noqa: F401
from small_run import finished_run, language, language_folder, model, store  # noqa: F401
