"""A small store, a small model and a finished run."""

from small_run import finished_run, language, language_folder, model, store  # noqa: F401
