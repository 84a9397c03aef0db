"""Scores by subject, their mean over subjects, and LLM4Brain's table by subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...stats.inference import sign_flip_p
from ..controls.conditions import DERANGED, TRUE, Conditions, block_effect, pairwise_score
from ..metrics.corpus import text_scores
from ..metrics.registry import TEXT_METRICS, TextMetric
from ..scores import Score

# columns of tables 1 and 2 of arXiv 2409.17987, in their order
COLUMNS = ("bertscore_f", "bleu1", "bleu2", "rougeL_f", "rougeL_p", "rougeL_r")
_SUBJECT = "subject "
_NO_BERT = "no model given"


def person_of(group: str) -> str:
    """Return the label of the subject that a group of scores is about, "" for other groups."""
    return group.removeprefix(_SUBJECT) if group.startswith(_SUBJECT) else ""


@checked
def scores_by_subject(
    subjects: Sequence[str],
    conditions: Conditions,
    *,
    metrics: Sequence[TextMetric] = TEXT_METRICS,
    seed: int = 0,
) -> list[Score]:
    """Score each subject against every control, with mean pairwise accuracy over subjects.

    Parameters
    ----------
    subjects : sequence of str, (N,)
        Subject of each sample.
    conditions : Conditions
        Controls on the same samples.
    metrics : sequence of TextMetric
        Only the metrics of LLM4Brain's table are used: BERTScore, BLEU-1 and -2, ROUGE-L. Partners
        of a derangement may be samples of other subjects.
    seed : int
        Seed of the intervals and sign flips.

    Returns
    -------
    list of Score
        ``group`` is ``"subject LABEL"``, or ``"people"`` for the mean over two or more subjects.
    """
    wanted = [m for m in metrics if m.name in COLUMNS]
    people = {p: np.array([i for i, s in enumerate(subjects) if s == p]) for p in set(subjects)}
    found = [
        score
        for person in sorted(people)
        for score in _of_texts(f"{_SUBJECT}{person}", people[person], conditions, wanted, seed)
    ]
    return [*found, *_of_pairs({p: people[p] for p in sorted(people)}, conditions, seed)]


def _of_texts(
    group: str,
    rows: npt.NDArray[np.int64],
    conditions: Conditions,
    metrics: Sequence[TextMetric],
    seed: int,
) -> list[Score]:
    said, truth, blocks = conditions[TRUE].texts, conditions.truth, conditions.blocks
    if said is None or not metrics:
        return []

    # rewritten texts of deranged brains are compared like those of every other control
    partners = conditions.partners if conditions.rewritten is None else None
    scored = text_scores(
        said, truth, partners, rows=rows, metrics=metrics, blocks=blocks, seed=seed
    )
    own = [replace(result.score, group=group) for result in scored.values()]
    found = [] if partners is None else [*own]
    for control in conditions:
        if control.texts is not None and control.name != TRUE:
            # only its value is used, so one resample is enough
            beside = text_scores(control.texts, truth, rows=rows, metrics=metrics, resamples=1)
            found += [
                replace(s, chance=beside[s.metric].score.value, control=control.name, p=None)
                for s in own
            ]
    return found


def _of_pairs(
    people: dict[str, npt.NDArray[np.int64]], conditions: Conditions, seed: int
) -> list[Score]:
    """Pairwise accuracy of each subject, and the mean over subjects."""
    true, deranged = conditions[TRUE].nll, conditions[DERANGED].nll
    if true is None or deranged is None:
        return []
    found = []
    for person, rows in people.items():
        own = pairwise_score(
            true[rows],
            deranged[:, rows],
            blocks=[conditions.blocks[i] for i in rows],
            seed=seed,
            partners=conditions.partners[:, rows],
        )
        found.append(replace(own, group=f"{_SUBJECT}{person}"))
    return [*found, *mean_over_people(found, seed=seed)]


@checked
def mean_over_people(scores: Sequence[Score], *, seed: int = 0) -> list[Score]:
    """Compute mean pairwise accuracy over subjects, also from several evaluations.

    Parameters
    ----------
    scores : sequence of Score
        Must include the pairwise accuracies of :func:`scores_by_subject`.
    seed : int
        Seed of the sign flips of subjects.

    Returns
    -------
    list of Score
        One score, or none for fewer than two subjects.
    """
    own = {
        s.group: s.value
        for s in scores
        if s.metric == "pairwise" and s.control == DERANGED and s.group.startswith(_SUBJECT)
    }
    if len(own) < 2:
        return []
    means = np.array(list(own.values()))
    return [
        Score(
            metric="pairwise",
            mode="teacher-forced",
            value=float(means.mean()),
            n=len(own),
            chance=0.5,
            control=DERANGED,
            p=sign_flip_p(means - 0.5, seed=seed),
            signature="mean over people; p: sign flips of people",
            group="people",
            effect=block_effect(means - 0.5, list(own)),
        )
    ]


Cells = dict[str, dict[str, dict[str, float]]]


def subject_cells(scores: Sequence[Score]) -> Cells:
    """Values of LLM4Brain's table: by subject, then true brain or control, then metric.

    Parameters
    ----------
    scores : sequence of Score
        Must include the scores of :func:`scores_by_subject`.
    """
    cells: Cells = {}
    for score in scores:
        if score.group.startswith(_SUBJECT) and score.metric in COLUMNS:
            rows = cells.setdefault(score.group.removeprefix(_SUBJECT), {TRUE: {}})
            rows[TRUE][score.metric] = score.value
            if score.chance is not None:
                rows.setdefault(score.control, {})[score.metric] = score.chance
    return cells


def cells_table(cells: Cells) -> str:
    """Format the values of :func:`subject_cells` as Markdown, with means over subjects."""
    titles = ["BERTScore", "BLEU-1", "BLEU-2", "ROUGE-L F", "ROUGE-L P", "ROUGE-L R"]
    lines = ["| subject | decoded from | " + " | ".join(titles) + " |", "|---" * 8 + "|"]
    means = {
        name: {
            column: float(np.mean([person[name][column] for person in cells.values()]))
            for column in kept
        }
        for name, kept in next(iter(cells.values()), {}).items()
    }
    for person, rows in {**cells, "mean": means}.items():
        for name, row in rows.items():
            values = [f"{100 * row[c]:.1f}" if c in row else _NO_BERT for c in COLUMNS]
            lines.append(f"| {person} | {name} | " + " | ".join(values) + " |")
    return "\n".join(lines)


@checked
def subject_table(scores: Sequence[Score]) -> str:
    """Format LLM4Brain's table as Markdown: one line per subject and one per control.

    Parameters
    ----------
    scores : sequence of Score
        Must include the scores of :func:`scores_by_subject`.

    Returns
    -------
    str
        Percentages, as in the paper; the last lines are means over subjects. BERTScore reads
        "no model given" if it was not computed.
    """
    return cells_table(subject_cells(scores))
