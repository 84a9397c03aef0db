"""Check of ``--unknown-subject``, an option of models with a table of subjects."""

from __future__ import annotations

from ..errors import ConfigError


def refuse_unknown_subject(command: str, value: str | None) -> None:
    """Raise if ``--unknown-subject`` is given for a BrainLLM run, which has no such table."""
    if value is not None:
        raise ConfigError(
            f"{command}: unknown_subject must be left out for a BrainLLM run, which has no table "
            f"of subjects, got {value!r}."
        )
