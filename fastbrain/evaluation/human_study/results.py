"""Score a preference test: shares with intervals and tests, raters, and their agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ...stats import (
    adjusted_p,
    binomial_interval,
    binomial_p,
    crossed_interval,
    fleiss_kappa,
    krippendorff_alpha,
    sign_flip_p,
)
from ...stats.inference import Interval
from .answers import NONE, OTHER, TRUE, Answers, read_answers

_FEW_RATERS = 5


@dataclass(frozen=True)
class PreferenceResult:
    """Result of a preference test.

    Parameters
    ----------
    counts : dict
        Numbers of pairs, answers, preferences of each kind, and pairs without an answer.
    share : dict
        Share of the true brain among preferences: ``value``, ``interval`` over pairs and raters,
        ``p`` by sign flips of pairs, and under ``if_independent`` the exact binomial test and
        interval of independent answers.
    raters : list of dict
        The same for each rater, with p adjusted over the raters.
    agreement : dict
        Krippendorff's ``alpha``, Fleiss' ``kappa`` and the share of ``equal`` answers; None where
        undefined.
    notes : list of str
    facts : dict
        Run, seed, forms and the settings of the evaluation.
    """

    counts: dict[str, int]
    share: dict[str, Any]
    raters: list[dict[str, Any]]
    agreement: dict[str, Any]
    notes: list[str]
    facts: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Content of ``results.json``, as plain JSON values."""
        return {
            "counts": self.counts,
            "share": self.share,
            "raters": self.raters,
            "agreement": self.agreement,
            "notes": self.notes,
            **self.facts,
        }


@checked
def score_human_study(
    folder: str | Path,
    answers: Sequence[str | Path],
    *,
    key: str | Path | None = None,
    seed: int = 0,
) -> PreferenceResult:
    """Score the answers to the forms of a preference test.

    Parameters
    ----------
    folder : str or Path
        Written by :func:`write_human_study`.
    answers : sequence of str or Path
        Files that raters saved, one for each form.
    key : str or Path, optional
        Default: ``key/key.json`` in `folder`.
    seed : int
        Seed of bootstrap and sign flips.

    Returns
    -------
    PreferenceResult

    Raises
    ------
    InputError
        A file was edited or belongs to another study, a form was answered twice, or no answer
        prefers a text.
    """
    found = read_answers(folder, answers, key)
    ratings = found.ratings
    decided = (ratings == TRUE) | (ratings == OTHER)
    if not decided.any():
        raise InputError(
            "score_human_study: answers must prefer one of two texts at least once, got none that "
            "does. Wait for more answers."
        )
    answered = ~np.isnan(ratings)
    counts = {
        "pairs": ratings.shape[1],
        "raters": len(found.forms),
        "answers": int(answered.sum()),
        "true": int((ratings == TRUE).sum()),
        "other": int((ratings == OTHER).sum()),
        "no_preference": int((ratings == NONE).sum()),
        "unanswered": int((found.on_form & ~answered).sum()),
        "pairs_without_answer": int((~answered.any(axis=0)).sum()),
    }
    facts = {
        "run": found.study["run"],
        "system": found.study["system"],
        "study_seed": found.study["seed"],
        "seed": seed,
        "question": found.study["question"],
        "left_out": found.study["left_out"],
        "evaluation": found.study["evaluation"],
        "forms": list(found.forms),
        "forms_without_answers": sorted(set(found.study["forms"]) - set(found.forms)),
        "first_text_share": float(found.first[decided].mean()),
    }
    return PreferenceResult(
        counts,
        _share(found, decided, seed),
        _by_rater(found, decided),
        _agreement(ratings),
        _notes(counts, facts),
        facts,
    )


def _share(found: Answers, decided: npt.NDArray[np.bool_], seed: int) -> dict[str, Any]:
    ratings = found.ratings
    answered = ~np.isnan(ratings)
    blocks = [pair["block"] for pair in found.key["pairs"]]

    def interval(
        values: npt.NDArray[np.float64], where: npt.NDArray[np.bool_], names: Sequence[object]
    ) -> list[float] | None:
        raters, pairs = np.nonzero(where)
        items = [names[i] for i in pairs.tolist()]
        return _listed(crossed_interval(values[where], raters.tolist(), items, seed=seed))

    prefers = (ratings == TRUE).astype(np.float64)
    halves = prefers + 0.5 * (ratings == NONE)
    every = range(ratings.shape[1])
    true, n = int((ratings == TRUE).sum()), int(decided.sum())
    # under chance, the labels of the two texts of a pair can be exchanged for all raters at once
    sums = (ratings == TRUE).sum(axis=0) - (ratings == OTHER).sum(axis=0).astype(np.float64)
    p = 2 * min(sign_flip_p(sums, seed=seed), sign_flip_p(-sums, seed=seed))
    return {
        "value": true / n,
        "n": n,
        "interval": interval(prefers, decided, every),
        "p": min(1.0, p),
        "by_run": {
            "interval": interval(prefers, decided, blocks),
            "runs": len({blocks[i] for i in np.flatnonzero(decided.any(axis=0))}),
        },
        "if_independent": {
            "interval": binomial_interval(true, n).as_list(),
            "p": binomial_p(true, n),
        },
        "with_no_preference_as_half": {
            "value": float(halves[answered].mean()),
            "interval": interval(halves, answered, every),
        },
    }


def _by_rater(found: Answers, decided: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for form, ratings, own, on_form in zip(
        found.forms, found.ratings, decided, found.on_form, strict=True
    ):
        true, n = int((ratings == TRUE).sum()), int(own.sum())
        rows.append(
            {
                "form": form,
                "true": true,
                "other": n - true,
                "no_preference": int((ratings == NONE).sum()),
                "unanswered": int((on_form & np.isnan(ratings)).sum()),
                "share": true / n if n else None,
                "interval": binomial_interval(true, n).as_list() if n else None,
                "p": binomial_p(true, n) if n else None,
                "adjusted": None,
            }
        )
    tested = [row for row in rows if row["p"] is not None]
    for row, adjusted in zip(tested, adjusted_p([row["p"] for row in tested]), strict=True):
        row["adjusted"] = float(adjusted)
    return rows


def _agreement(ratings: npt.NDArray[np.float64]) -> dict[str, Any]:
    counts = (ratings[:, :, None] == [TRUE, OTHER, NONE]).sum(axis=0)
    each = counts.sum(axis=1)
    shared = counts[each >= 2]
    same_number = bool(len(shared)) and bool((each[each > 0] == each.max()).all())
    pairs_of_raters = (each * (each - 1)).sum()
    return {
        "alpha": krippendorff_alpha(ratings),
        "kappa": fleiss_kappa(shared) if same_number else None,
        "equal": float((counts * (counts - 1)).sum() / pairs_of_raters) if len(shared) else None,
        "pairs": len(shared),
    }


def _notes(counts: dict[str, int], facts: dict[str, Any]) -> list[str]:
    notes = []
    if counts["raters"] == 1:
        notes.append(
            "There is one rater: the interval is over pairs, and says nothing about others."
        )
    elif counts["raters"] < _FEW_RATERS:
        notes.append(
            f"There are {counts['raters']} raters: the interval describes differences among people "
            "only roughly."
        )
    if missing := facts["forms_without_answers"]:
        notes.append(f"{len(missing)} forms have no answers: {', '.join(missing)}.")
    if counts["unanswered"]:
        notes.append(f"{counts['unanswered']} pairs on the answered forms were not answered.")
    if counts["pairs_without_answer"]:
        notes.append(f"{counts['pairs_without_answer']} pairs of the study have no answer.")
    if facts["evaluation"].get("partners"):
        notes.append(f"Brains of the other texts: {facts['evaluation']['partners']}.")
    return notes


def _listed(interval: Interval | None) -> list[float] | None:
    return None if interval is None else interval.as_list()
