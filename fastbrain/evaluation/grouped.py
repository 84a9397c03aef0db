"""Evaluations with the scores of single groups: sessions, or people by a property of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .._arguments import checked
from ..data.readers.demographics import read_demographics
from ..data.readers.events import Trial
from ..errors import InputError
from .analyses.by_group import Grouping, group_difference_p, scores_by_group, sessions_of
from .protocol import Evaluation
from .scores import with_adjusted


@checked
def groupings_of(
    trials: Sequence[Trial], participants: str | Path | None = None, by: Sequence[str] = ()
) -> list[Grouping]:
    """Group trials by session, if there are two or more, and by columns of a table of people.

    Parameters
    ----------
    trials : sequence of Trial
    participants : str or Path, optional
        ``participants.tsv``.
    by : sequence of str
        Columns of that table; see :func:`fastbrain.data.readers.demographics.read_demographics`.

    Raises
    ------
    InputError
        One of `participants` and `by` is missing, or a column would be reported twice.
    CohortError
        A column or a person is missing, or the column does not divide the people.
    """
    if (participants is None) != (not by):
        raise InputError(
            f"evaluate: participants and by must be given together, got {participants} and "
            f"{list(by)}. For example --participants participants.tsv --by sex age."
        )
    people = tuple(t.subject for t in trials)
    found = sessions_of(trials)
    if participants is not None:
        for column, label in read_demographics(participants, by, people).items():
            labels = tuple(label[person] for person in people)
            found.append(Grouping(column, labels, people, ("",) * len(people)))
    names = [g.name for g in found]
    if len(set(names)) < len(names):
        raise InputError(f"evaluate: by must name columns other than the session, got {names}.")
    return found


@checked
def with_groups(
    evaluation: Evaluation, groupings: Sequence[Grouping], *, seed: int = 0
) -> Evaluation:
    """Add the scores of every group to an evaluation, and adjust all p again as one family.

    Parameters
    ----------
    evaluation : Evaluation
    groupings : sequence of Grouping
        Of the same samples in the same order.
    seed : int

    Returns
    -------
    Evaluation
        With the scores of :func:`scores_by_group`. ``facts["groups"]`` has, for each grouping, the
        p of equal pairwise accuracy (ROUGE-L for a decoder without likelihoods) in all groups.

    Raises
    ------
    InputError
        A grouping is of another number of samples.
    """
    if not groupings:
        return evaluation
    found = [s for g in groupings for s in scores_by_group(evaluation.conditions, g, seed=seed)]
    tests = [_difference(evaluation, g, seed) for g in groupings]
    return replace(
        evaluation,
        scores=with_adjusted([*evaluation.scores, *found]),
        facts={**evaluation.facts, "groups": tests},
    )


def _difference(evaluation: Evaluation, grouping: Grouping, seed: int) -> dict[str, Any]:
    metric = "pairwise" if "pairwise" in evaluation.per_sample else "rougeL_f"
    p, units = group_difference_p(evaluation.per_sample[metric], grouping, seed=seed)
    return {"name": grouping.name, "metric": metric, "units": units, "p": p}
