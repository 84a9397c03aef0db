"""How many tokens a language model reads at once."""

from __future__ import annotations

from typing import Any


def context_of(llm: Any) -> int | None:
    """Return the number of positions of a language model, None if it sets no limit."""
    config = llm.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    found = getattr(text, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None
