"""Decoded windows with their confidence, as a table or JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..data.readers.tables import tsv_text


@dataclass(frozen=True)
class DecodedWindow:
    """Decoded text of one window, with its confidence.

    Parameters
    ----------
    trial_id, run, subject : str
    onset : float
        Onset of the stimulus, seconds; for windows at a fixed step, that of a stimulus with a
        response that begins with the window.
    text : str
        Free-running text; "" if the window is held.
    prompt : str
        Text before it: the question that the model was asked, or the text to continue.
    held : str
        Why the window is not decoded: the statistics in which it leaves the training windows.
    margin_no_brain, margin_permuted : float or None
        Nats per token by which the own window makes the text likelier than no window, and than
        other windows of the same call; None if undefined.
    chance_no_brain, chance_permuted : float or None
        Mean of the same margins over phase-randomised windows and their own texts. The model
        writes the text that it finds likely, so margins are positive on noise too.
    p_no_brain, p_permuted : float or None
        Share of the phase-randomised windows with a margin at least as large.
    """

    trial_id: str
    run: str
    subject: str
    onset: float
    text: str
    prompt: str = ""
    held: str = ""
    margin_no_brain: float | None = None
    chance_no_brain: float | None = None
    p_no_brain: float | None = None
    margin_permuted: float | None = None
    chance_permuted: float | None = None
    p_permuted: float | None = None


@dataclass(frozen=True)
class Decoding:
    """Decoded windows, in order.

    Parameters
    ----------
    windows : tuple of DecodedWindow
    facts : dict
        Run, fingerprint of the training store, source and settings, as JSON values.
    """

    windows: tuple[DecodedWindow, ...]
    facts: dict[str, Any]

    @property
    def texts(self) -> tuple[str, ...]:
        """Decoded texts; "" for held windows."""
        return tuple(window.text for window in self.windows)

    @property
    def held(self) -> tuple[DecodedWindow, ...]:
        """Windows that were not decoded."""
        return tuple(window for window in self.windows if window.held)

    def to_tsv(self) -> str:
        """Format as a table with a header; ``n/a`` where a value is undefined."""
        names = [field.name for field in fields(DecodedWindow)]
        names = ["trial_id", "text", *(n for n in names if n not in ("trial_id", "text"))]
        rows = [[_cell(getattr(window, name)) for name in names] for window in self.windows]
        return tsv_text(names, rows)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**self.facts, "windows": [asdict(window) for window in self.windows]}


def _cell(value: Any) -> str:
    if value is None:
        return "n/a"
    return json.dumps(value) if isinstance(value, float) else " ".join(str(value).split())
