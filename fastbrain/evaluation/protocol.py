"""Full evaluation of decoded text: every score, compared with every control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from ..errors import InputError
from ..stats.derangements import check_count
from .analyses.against_controls import against_controls, cut_metric, texts_against_deranged
from .analyses.by_subject import scores_by_subject
from .analyses.controlled_surprise import surprise_effect
from .analyses.linear_baseline import LinearBaseline
from .analyses.surprise import SurpriseBin, by_surprise
from .analyses.written_texts import written_text_scores
from .controls.conditions import DERANGED, TRUE, Conditions
from .metrics.bertscore import BertModel
from .metrics.diversity import Diversity, diversity
from .metrics.registry import text_metrics
from .scores import Mode, Score, with_adjusted

_BINS = 5
_SAMPLES_A_BIN = 8


@dataclass(frozen=True)
class Sample:
    """One decoded window and its true text.

    Parameters
    ----------
    trial_id, subject, run_id : str
    truth, decoded : str
        The decoded text is free-running: it is generated without access to the truth.
    """

    trial_id: str
    subject: str
    run_id: str
    truth: str
    decoded: str


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Samples, controls and all scores of one evaluation.

    Parameters
    ----------
    samples : tuple of Sample
    conditions : Conditions
        Output of the decoder under every control.
    scores : tuple of Score
        Compared with deranged brains: the metrics of free-running text and of text cut to the
        reference length, identification of the true text from the written one, teacher-forced
        pairwise accuracy, and the linear baseline, if there is one.
        The headline metrics are also compared with every other control. All scores form one family
        for the adjustment of p.
    per_sample : dict
        Metric name to (N,) values, free-running; ``"pairwise"`` is against deranged brains, and
        ``"linear_..."`` are those of the linear baseline.
    diversity : Diversity
    surprise : tuple of SurpriseBin
        Empty if there are too few samples.
    facts : dict
        Further facts for the report, as JSON values: the curves and ceilings of identification in
        ``"identification"``, the check of :func:`brain_use` in ``"brain_use"``, and with a linear
        baseline its fit and its comparison with the decoder in ``"linear_baseline"``.
    """

    samples: tuple[Sample, ...]
    conditions: Conditions
    scores: tuple[Score, ...]
    per_sample: dict[str, npt.NDArray[np.float64]]
    diversity: Diversity
    surprise: tuple[SurpriseBin, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def score(
        self,
        metric: str,
        *,
        control: str = DERANGED,
        mode: Mode | None = None,
        group: str = "",
    ) -> Score:
        """Return the single score that matches the arguments.

        Raises
        ------
        InputError
            No score matches, or more than one.
        """
        return find_score(self.scores, metric, control=control, mode=mode, group=group)

    def without_p(self, control: str) -> Evaluation:
        """Leave out every p against a control; the others are adjusted again as one family."""
        scores = [
            replace(s, p=None, adjusted=None) if s.control == control else s for s in self.scores
        ]
        bins = tuple(
            replace(b, score=replace(b.score, p=None)) if b.score.control == control else b
            for b in self.surprise
        )
        return replace(self, scores=with_adjusted(scores), surprise=bins)

    @property
    def permuted(self) -> tuple[str, ...]:
        """Text decoded from each sample's partner in the first derangement."""
        return tuple(self.conditions.deranged_texts(0))

    def to_json(self) -> dict[str, Any]:
        """Content of ``metrics.json``, as plain JSON values."""
        return {
            "n": len(self.samples),
            "n_derangements": len(self.conditions.partners),
            "scores": [score.to_json() for score in self.scores],
            "diversity": asdict(self.diversity),
            "surprise": [
                {"low": b.low, "high": b.high, "score": b.score.to_json()} for b in self.surprise
            ],
            "controls": {c.name: c.note for c in self.conditions},
            **self.facts,
        }


@checked
def find_score(
    scores: Sequence[Score],
    metric: str,
    *,
    control: str = DERANGED,
    mode: Mode | None = None,
    group: str = "",
) -> Score:
    """Return the single matching score; by default any mode except ``"reference-length"``."""
    found = [
        s
        for s in scores
        if (s.metric, s.control, s.group) == (metric, control, group)
        and (s.mode != "reference-length" if mode is None else s.mode == mode)
    ]
    if len(found) != 1:
        raise InputError(
            f"score: {metric!r} against {control!r} must be one score, got {len(found)}."
        )
    return found[0]


@checked
def evaluate_text(
    samples: Sequence[Sample],
    conditions: Conditions,
    *,
    seed: int = 0,
    bert: bool | BertModel = True,
    linear: LinearBaseline | None = None,
    train_texts: Sequence[str] = (),
) -> Evaluation:
    """Score decoded texts and compare them with the same decoder under every control.

    Parameters
    ----------
    samples : sequence of Sample, (N,)
    conditions : Conditions
        Of the same samples in the same order, from :func:`run_controls` or
        :func:`control_model`, with at least 100 derangements.
    seed : int
        Seed of the intervals and sign flips.
    bert : bool or BertModel
        Whether to compute BERTScore, or its encoder, and identification by sentence embeddings
        (needs the ``demo`` extra). Identification by words in common is always computed.
    linear : LinearBaseline, optional
        Linear baseline on the same samples, from :func:`fit_linear_baseline`.
    train_texts : sequence of str
        Texts of the training part, for the effect of surprise at equal length and word frequency.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        No samples, fewer than 100 derangements, or samples that differ from those of the controls.
    """
    said = [s.decoded for s in samples]
    truth = [s.truth for s in samples]
    _check(conditions, said, truth, linear)
    metrics = text_metrics(bert)
    blocks, partners = conditions.blocks, conditions.partners
    free = texts_against_deranged(said, conditions, metrics=metrics, seed=seed)
    known = texts_against_deranged(
        said,
        conditions,
        metrics=[cut_metric(m) for m in metrics if m.name not in ("exact_match", "cosine")],
        mode="reference-length",
        seed=seed,
    )
    forced = conditions.scores(seed=seed)
    scores = [
        *forced,
        *(result.score for result in free.values()),
        *(result.score for result in known.values()),
        *against_controls(conditions, free, metrics, seed=seed),
        *scores_by_subject([s.subject for s in samples], conditions, metrics=metrics, seed=seed),
    ]
    per_sample = {n: r.per_sample for n, r in free.items() if r.per_sample is not None}
    facts: dict[str, Any] = {}
    if len(samples) > 1:
        written, each, facts = written_text_scores(
            conditions, meaning=bool(bert), train_texts=train_texts, seed=seed
        )
        scores, per_sample = [*scores, *written], {**per_sample, **each}
    if train_texts and (effect := surprise_effect(conditions, train_texts)):
        scores.append(effect)
    true, deranged = conditions[TRUE].nll, conditions[DERANGED].nll
    if true is not None and deranged is not None:
        wins = (true < deranged) + 0.5 * (true == deranged)
        per_sample["pairwise"] = wins.mean(axis=0)
    if linear is not None:
        ridge, each = linear.scores(partners, blocks, seed=seed, groups=conditions.questions)
        scores, per_sample = [*scores, *ridge], {**per_sample, **each}
        facts["linear_baseline"] = linear.facts(per_sample, blocks, seed=seed)
    bins = min(_BINS, len(samples) // _SAMPLES_A_BIN)
    return Evaluation(
        tuple(samples),
        conditions,
        with_adjusted(scores),
        per_sample,
        diversity(said, seed=seed),
        by_surprise(conditions, bins=bins, seed=seed) if forced and bins > 1 else (),
        facts,
    )


def _check(
    conditions: Conditions,
    said: Sequence[str],
    truth: Sequence[str],
    linear: LinearBaseline | None,
) -> None:
    if not truth:
        raise InputError("evaluate_text: samples must not be empty. Is the test part empty?")
    check_count(len(conditions.partners), function="evaluate_text")
    if conditions.truth != tuple(truth) or conditions[TRUE].texts != tuple(said):
        raise InputError(
            "evaluate_text: samples must be those of the conditions in their order, got other "
            "texts. Make both from one pass."
        )
    if linear is not None and linear.similarity.shape != (len(truth), len(truth)):
        raise InputError(
            f"evaluate_text: linear must be of the same {len(truth)} samples, got similarities of "
            f"{linear.similarity.shape}."
        )
