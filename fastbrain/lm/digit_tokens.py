"""Digit tokens of a language model, one token per decimal place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True)
class DigitTokens:
    """Spell integers with a fixed number of places, one token per digit.

    The number 47 is always the two tokens "4" and "7", however the tokenizer splits "47". A number
    thus has one spelling, and its probability is a product over places.

    Parameters
    ----------
    ids : tuple of int
        Tokens of "0" to "9".
    places : int
        Number of digits.
    """

    ids: tuple[int, ...]
    places: int

    @classmethod
    def find(cls, tokenizer: Any, *, places: int = 2) -> DigitTokens:
        """Find the digit tokens of a tokenizer.

        Raises
        ------
        InputError
            A digit has no token, or `places` is below one.
        """
        known = tokenizer.get_vocab()
        missing = [str(d) for d in range(10) if str(d) not in known]
        if missing or places < 1:
            raise InputError(
                f"DigitTokens: the tokenizer must know all digits and places be 1 or more, got "
                f"none for {missing or 'no digit'} and {places}. Add them with "
                "tokenizer.add_tokens and resize the embeddings."
            )
        return cls(tuple(known[str(d)] for d in range(10)), places)

    def tokens(self, value: float) -> Tensor:
        """Tokens (places,) int64 of the value rounded to an integer.

        Raises
        ------
        InputError
            The value is not finite, or the integer is negative or has more digits than `places`.
        """
        whole = round(value) if math.isfinite(value) else -1
        if not 0 <= whole < 10**self.places:
            raise InputError(
                f"DigitTokens: value must be in [0, {10**self.places}), got {value}. Use more "
                "places, or another unit."
            )
        return torch.tensor([self.ids[int(d)] for d in f"{whole:0{self.places}d}"])
