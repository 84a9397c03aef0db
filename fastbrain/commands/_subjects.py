"""The option that only models with a table of subjects have."""

from __future__ import annotations

from ..errors import ConfigError


def refuse_unknown_subject(command: str, value: str | None) -> None:
    """Refuse ``--unknown-subject`` for a BrainLLM run, whose model knows nobody."""
    if value is not None:
        raise ConfigError(
            f"{command}: unknown_subject must be left out for a BrainLLM run, which has no table "
            f"of subjects, got {value!r}."
        )
