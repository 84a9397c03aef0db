"""Answers that a language model may give, and their probabilities from its logits.

For models that read pictures or vectors; :func:`fastbrain.decoding.guess_number` is for sequences
of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError
from ...lm.digit_tokens import DigitTokens
from ...lm.mixed_sequence import IGNORED
from ..question import spelled


@dataclass(frozen=True)
class AllowedAnswers:
    """The numbers of a target in digits, or its labels in words, as tokens.

    Parameters
    ----------
    tokens : tuple of tuple of int
        Tokens of each answer.
    values : ndarray, (A,) float64, or None
        The number that each answer spells; None for labels.
    labels : tuple of str
        The label of each answer; empty for numbers.
    """

    tokens: tuple[tuple[int, ...], ...]
    values: np.ndarray[Any, np.dtype[np.float64]] | None
    labels: tuple[str, ...]

    @classmethod
    def find(cls, tokenizer: Any, *, places: int, labels: Sequence[str] = ()) -> AllowedAnswers:
        """Spell all numbers with `places` digits, or the labels if there are any.

        Raises
        ------
        InputError
            A digit or a word is unknown to the tokenizer, or a label begins another one.
        """
        if not labels:
            digits = DigitTokens.find(tokenizer, places=places)
            values = np.arange(10**places, dtype=np.float64)
            return cls(tuple(tuple(digits.tokens(v).tolist()) for v in values), values, ())
        tokens = tuple(tuple(spelled(label, tokenizer, None).tolist()) for label in labels)
        if any(a == b[: len(a)] for a in tokens for b in tokens if a is not b):
            raise InputError(
                f"AllowedAnswers: no answer may be the beginning of another, got {list(labels)}. "
                "Use other words."
            )
        return cls(tokens, None, tuple(labels))

    def of(self, answer: float | str) -> tuple[int, ...]:
        """Tokens of one answer.

        Raises
        ------
        InputError
            The answer is not among the allowed ones.
        """
        if self.values is None and answer in self.labels:
            return self.tokens[self.labels.index(str(answer))]
        if self.values is not None and 0 <= round(float(answer)) < len(self.values):
            return self.tokens[round(float(answer))]
        raise InputError(
            f"AllowedAnswers: answer must be one of the {len(self.tokens)} allowed, got {answer!r}."
            " Use more places, or another unit."
        )

    @torch.no_grad()
    def odds(self, following: Callable[[Tensor], Tensor]) -> Tensor:
        """Probability of each answer, token by token among the tokens that go on to an answer.

        Parameters
        ----------
        following : callable
            Maps the first tokens of answers (B, n) int64, n >= 0, to the logits (B, V) of the next.

        Returns
        -------
        Tensor, (A,) float64
        """
        odds = torch.ones(len(self.tokens), dtype=torch.float64)
        for n in range(max(map(len, self.tokens))):
            begun: dict[tuple[int, ...], list[int]] = {}
            for i, ids in enumerate(self.tokens):
                if len(ids) > n:
                    begun.setdefault(ids[:n], []).append(i)
            logits = following(torch.tensor(list(begun), dtype=torch.int64).reshape(len(begun), n))
            for row, members in zip(logits.double().cpu(), begun.values(), strict=True):
                nexts = sorted({self.tokens[i][n] for i in members})
                shares = row[nexts].softmax(dim=0)
                for i in members:
                    odds[i] *= shares[nexts.index(self.tokens[i][n])]
        return odds

    def expected(self, odds: Sequence[Tensor]) -> float | list[float]:
        """Mean number, or probabilities of the labels, over parts of a recording."""
        mean = torch.stack(list(odds)).mean(dim=0).numpy()
        return mean.tolist() if self.values is None else float(mean @ self.values)


def answer_rows(answers: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Pad answers to tokens (B, n) and labels (B, n) int64; padding is 0 without a loss."""
    longest = max(map(len, answers))
    ids = torch.zeros(len(answers), longest, dtype=torch.int64)
    labels = torch.full_like(ids, IGNORED)
    for i, tokens in enumerate(answers):
        ids[i, : len(tokens)] = labels[i, : len(tokens)] = torch.tensor(tokens)
    return ids, labels


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of answers (B, n) at the end of sequences with logits (B, L, V)."""
    n = labels.shape[1]
    last = logits[:, -n - 1 : -1].float()
    return F.cross_entropy(last.flatten(0, 1), labels.flatten().to(last.device))
