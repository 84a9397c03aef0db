"""Check of texts with several references each."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import InputError


def check_references(
    name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> None:
    """Require as many lists of references as texts, each with at least one reference.

    Raises
    ------
    InputError
    """
    empty = sum(isinstance(each, str) or not each for each in references)
    if len(hypotheses) != len(references) or not references or empty:
        raise InputError(
            f"{name}: references must be a list of one or more texts for each hypothesis, got "
            f"{len(references)} for {len(hypotheses)} hypotheses, {empty} of them no such list."
        )
