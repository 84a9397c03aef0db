"""A language model that knows eight sentences, and a small store."""

from small_run import store  # noqa: F401
from tiny_training import language  # noqa: F401
