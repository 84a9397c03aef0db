"""Pairs of texts that people compare, and their order and position on each form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InputError


@dataclass(frozen=True)
class Pair:
    """Two decoded texts of one window, and what a rater is shown with them.

    Parameters
    ----------
    trial_id, subject, block : str
    question, prompt : str
        What the true text answers, and the text that it continues; both may be empty.
    truth : str
    decoded, deranged : str
        Text decoded from the true brain, and from the brain of the first derangement.
    """

    trial_id: str
    subject: str
    block: str
    question: str
    prompt: str
    truth: str
    decoded: str
    deranged: str

    @property
    def shown(self) -> tuple[str, ...]:
        """What a rater sees, with white space as a page shows it."""
        fields = (self.question, self.prompt, self.truth, self.decoded, self.deranged)
        return tuple(" ".join(text.split()) for text in fields)


@dataclass(frozen=True)
class Item:
    """A pair on a form: its index, and the position (1 or 2) of the text of the true brain."""

    pair: int
    true: int


def study_pairs(
    columns: Mapping[str, Sequence[Any]],
    contexts: Mapping[str, tuple[str, str]],
    *,
    most: int,
    rng: np.random.Generator,
) -> tuple[list[Pair], dict[str, int]]:
    """Select the pairs of a study.

    Parameters
    ----------
    columns : mapping
        Of :func:`fastbrain.evaluation.read_samples`.
    contexts : mapping of str to (str, str)
        Trial id to question and prompt.
    most : int
        Number of pairs to draw, if there are more.
    rng : numpy.random.Generator

    Returns
    -------
    pairs : list of Pair
    left_out : dict
        Number of windows that are not in the study, by reason.

    Raises
    ------
    InputError
        No pair has two different texts.
    """
    names = ("trial_id", "subject", "block", "truth", "decoded", "deranged")
    pairs: list[Pair] = []
    equal = repeated = 0
    seen = set()
    for values in zip(*(columns[name] for name in names), strict=True):
        row = dict(zip(names, values, strict=True))
        question, prompt = contexts[row["trial_id"]]
        pair = Pair(question=question, prompt=prompt, **row)
        if pair.shown[-1] == pair.shown[-2]:
            equal += 1
        elif pair.shown in seen:
            repeated += 1
        else:
            seen.add(pair.shown)
            pairs.append(pair)
    if not pairs:
        raise InputError(
            f"write_human_study: windows must have a text that differs from that of another brain, "
            f"got {equal} with equal texts. The decoder does not use the brain data."
        )
    kept = _without_common_texts(pairs, rng)
    left_out = {"equal texts": equal, "shown already": repeated}
    left_out["text in another pair"] = len(pairs) - len(kept)
    left_out["not drawn"] = max(0, len(kept) - most)
    kept = sorted(kept[:most])
    return [pairs[i] for i in kept], left_out


def _without_common_texts(pairs: Sequence[Pair], rng: np.random.Generator) -> list[int]:
    """Draw pairs in random order, of which no two share a decoded text.

    The text of a window is also that of a deranged brain for another window. If both were shown, a
    rater who is sure of one pair would know the other, and so on along the derangement.
    """
    kept: list[int] = []
    used: set[str] = set()
    for i in rng.permutation(len(pairs)).tolist():
        own = set(pairs[i].shown[-2:])
        if not own & used:
            used |= own
            kept.append(i)
    return kept


def lay_out(
    count: int, *, forms: int, per_form: int, rng: np.random.Generator
) -> list[tuple[Item, ...]]:
    """Distribute pairs over forms, in random order and balanced positions.

    Every pair is on ``forms * per_form / count`` forms, rounded up or down. On each form the text
    of the true brain is first in half of the pairs, and for each pair on half of its forms, as far
    as the numbers allow.

    Parameters
    ----------
    count : int
        Number of pairs.
    forms, per_form : int
    rng : numpy.random.Generator

    Raises
    ------
    InputError
        Some pairs would be on no form.
    """
    per_form = min(per_form, count)
    if forms * per_form < count:
        raise InputError(
            f"write_human_study: raters × pairs_per_form must be at least {count}, the number of "
            f"pairs, got {forms} × {per_form}. Add raters, or use fewer pairs."
        )
    around = rng.permutation(count)
    first = np.zeros(count, dtype=int)  # how often the true brain was first, less second
    found = []
    for form in range(forms):
        own = around[(form * per_form + np.arange(per_form)) % count]
        own = rng.permutation(own)
        # those that were second more often come first; ties are in random order
        ranked = own[np.argsort(first[own], kind="stable")]
        half = per_form // 2 + int(per_form % 2 and rng.integers(2))
        first[ranked[:half]] += 1
        first[ranked[half:]] -= 1
        chosen = set(ranked[:half].tolist())
        order = rng.permutation(own).tolist()
        found.append(tuple(Item(pair, 1 if pair in chosen else 2) for pair in order))
    return found
