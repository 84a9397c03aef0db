"""Answers of a language model for people: numbers in digits, and labels in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..decoding import answer_odds, guess_number
from ..lm.mixed_sequence import MixedSequence
from .linear_baselines import Target
from .question import Question

Vector = npt.NDArray[np.float64]


def labels_of(target: Target) -> list[str]:
    """Labels in sorted order."""
    return sorted({str(label) for label in target.values()})


def numbers_of(
    llm: Any,
    question: Question,
    rows: Mapping[str, Sequence[MixedSequence]],
    split: Mapping[str, Sequence[str]],
    target: Target,
) -> tuple[dict[str, dict[str, Any]], float]:
    """Predictions from answers in digits, and the mean probability of a digit."""
    assert question.digits is not None
    guesses = {
        p: [guess_number(llm, row, question.digits) for row in rows[p]]
        for p in (*split["val"], *split["test"])
    }
    mean = {p: float(np.mean([g.mean for g in found])) for p, found in guesses.items()}
    known = np.array([float(target[p]) for p in split["val"]])
    slope, start = _line(np.array([mean[p] for p in split["val"]]), known)
    likeliest = {p: float(np.median([g.likeliest for g in f])) for p, f in guesses.items()}
    predicted: dict[str, dict[str, Any]] = {"digits": mean, "digits, likeliest": likeliest}
    predicted["digits, calibrated"] = {p: start + slope * value for p, value in mean.items()}
    return predicted, float(np.mean([g.spelled for p in split["test"] for g in guesses[p]]))


def words_of(
    llm: Any,
    question: Question,
    rows: Mapping[str, Sequence[MixedSequence]],
    split: Mapping[str, Sequence[str]],
    target: Target,
) -> dict[str, dict[str, Any]]:
    """Predicted probability of each label, in sorted order."""
    labels = labels_of(target)
    odds = {
        p: torch.stack([answer_odds(llm, row, labels, question.tokenizer) for row in rows[p]])
        for p in split["test"]
    }
    return {"words": {p: found.mean(dim=0).tolist() for p, found in odds.items()}}


def _line(guess: Vector, truth: Vector) -> tuple[float, float]:
    """Slope and intercept of a least-squares line with a slope of 0 or more.

    A falling line would reverse the order of people; the best one that does not fall is flat.
    """
    spread = guess - guess.mean()
    power = float(spread @ spread)
    slope = max(0.0, float(spread @ truth) / power) if power > 0 else 0.0
    return slope, float(truth.mean() - slope * guess.mean())
