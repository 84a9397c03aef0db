"""Result and events of the decode engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EngineResult:
    """Texts of one call of :meth:`DecodeEngine.generate`.

    Parameters
    ----------
    tokens : tuple of tuple of int
        Tokens of each row without the end token.
    finish : tuple of str
        Why each row ended: ``"end"`` (an end token), ``"length"``, ``"constraint"`` (nothing may
        follow) or ``"cancelled"``.
    log_probability : tuple of float, or None
        Sum of the log probabilities of a row's tokens, the end token included, in nats; None if
        not asked for.
    first_token_s, total_s : float
        Seconds from the call to the first token of the first row, and to the end.
    """

    tokens: tuple[tuple[int, ...], ...]
    finish: tuple[str, ...]
    log_probability: tuple[float, ...] | None
    first_token_s: float
    total_s: float

    def texts(self, tokenizer: Any) -> list[str]:
        """Decode each row to text with a Hugging Face tokenizer."""
        return [
            tokenizer.decode(list(row), skip_special_tokens=True).strip() for row in self.tokens
        ]


@dataclass(frozen=True)
class TokenEvent:
    """A token as soon as it is known.

    Parameters
    ----------
    row : int
        Row of the call.
    step : int
        Place in the text, from 0.
    token : int
    text : str
        What the token adds to the text; empty without a tokenizer, and while a character is
        incomplete.
    """

    row: int
    step: int
    token: int
    text: str
