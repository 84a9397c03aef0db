"""The part of the methods section on controls, metrics and statistics."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from ...stats.inference import bootstrap_interval
from ..controls.conditions import DERANGED, TRUE
from ..metrics.corpus import text_scores
from ..protocol import Evaluation
from ..scores import Score
from .table import TITLES, derangements_drawn

# controls by name, in words
_CONTROLS = {
    "phase-randomised brain": "the same recordings with randomised phases [@prichard1994surrogate]",
    "noise brain": "Gaussian noise with the mean and variance of every voxel in training",
    "zero brain": "the mean of every voxel in training",
    "prompt alone": "the prompt without a brain",
    "untuned model": "the language model as it was before training",
    "majority text": "the most frequent training text",
    "template text": "the most common word of the training texts at each position",
    "nearest training text": "the training text with the nearest prediction",
}
# by the start of a metric's name: works to cite, and the metric to print the signature of
_FAMILIES = {
    "bleu": ("BLEU [@papineni2002bleu; @post2018sacrebleu]", "bleu1"),
    "rouge": ("ROUGE [@lin2004rouge]", "rougeL_f"),
    "chrf": ("chrF [@popovic2015chrf]", "chrf"),
    "wer": ("word error rate", "wer"),
    "cider_d": ("CIDEr-D [@vedantam2015cider]", "cider_d"),
    "meteor": ("METEOR [@banerjee2005meteor]", "meteor"),
    "cosine": ("cosine of sentence embeddings", "cosine"),
    "exact_match": ("the share of exact sentences", ""),
    "bertscore": ("BERTScore [@zhang2020bertscore]", "bertscore_f"),
}


def scoring_sentences(evaluation: Evaluation) -> list[str]:
    """Describe how decoded texts were compared with controls, scored and tested."""
    return [*_controls(evaluation), *_metrics(evaluation.scores), *_statistics(evaluation)]


def _controls(evaluation: Evaluation) -> list[str]:
    conditions = evaluation.conditions
    apart = evaluation.facts.get("partners_exclude") or ["run_id"]
    same = " or ".join("run" if name == "run_id" else name for name in apart)
    paired = f"a brain of no common {same} and neighbouring samples stay together"
    if "partners" in evaluation.facts:  # a test part of a single run
        paired = "a brain of the same run, shifted by at least window and delay"
    drawn = derangements_drawn(len(conditions.partners), conditions.distinct)
    others = [
        _CONTROLS.get(control.name, control.name)
        for control in conditions
        if control.name not in (TRUE, DERANGED)
    ]
    found = [
        f"{len(evaluation.samples):,} samples were scored. Every score is compared with that of "
        f"the same decoder for {drawn}, in which each text is "
        f"paired with {paired}."
    ]
    if conditions.questions:
        found.append(
            "Texts answer different questions: every control was asked the question of the sample, "
            "partners shared it, and retrieval was among the texts of the same question."
        )
    if conditions.rewritten is not None:
        found.append(
            "Each text follows a text of its own: for text scores, the brains of the first "
            "derangement were decoded again after the sample's own."
        )
    if others:
        found.append(f"Further controls were {'; '.join(others)}.")
    return found


def _metrics(scores: Sequence[Score]) -> list[str]:
    by_name = {s.metric: s for s in scores if not s.group and s.mode != "reference-length"}
    named = []
    for start, (words, signed) in _FAMILIES.items():
        if any(name.startswith(start) for name in by_name):
            signature = by_name[signed].signature if signed in by_name else ""
            named.append(words + (f" (`{signature}`)" if signature else ""))
    found = []
    if "pairwise" in by_name:
        found.append(
            "Pairwise accuracy is the share of samples with a true text that is likelier given "
            "their own brain than given that of the control [@ye2025brainllm]; it is "
            "teacher-forced, all other scores of the decoder are of freely generated text."
        )
    if named:
        found.append(f"Generated texts were scored by {'; '.join(named)}.")
    ranked = [TITLES[name] for name in by_name if name.startswith("meaning_") and name in TITLES]
    if ranked:
        found.append(
            "The true text was also retrieved among all true texts by sentence embeddings "
            f"[@reimers2019sbert] of the generated text ({'; '.join(ranked)})."
        )
    if "words_two_way" in by_name:
        found.append(
            f"The same was done by the words in common (`{by_name['words_two_way'].signature}`)."
        )
    if "linear_pairwise" in by_name:
        found.append(
            "As a linear baseline, a ridge regression was fitted to the same training windows and "
            "scored by the similarity of its predictions with the true texts "
            f"(`{by_name['linear_pairwise'].signature}`)."
        )
    return found


def _statistics(evaluation: Evaluation) -> list[str]:
    scores = evaluation.scores
    found = []
    if any(s.p is not None and s.control == DERANGED for s in scores):
        start = "Against deranged brains, p is"
        if evaluation.conditions.rewritten is not None:
            start = (
                "Against deranged brains, p of a score of generated text is from sign flips of "
                "whole runs [@nichols2002permutation], and p of any other score is"
            )
        found.append(
            f"{start} the one-sided rank of the score (of the mean likelihood, for pairwise "
            "accuracy) among the derangements, the observed pairing included "
            "[@phipson2010permutation]."
        )
    if any(s.p is not None and s.control != DERANGED for s in scores):
        found.append(
            "Against other controls, p is from sign flips of whole runs, for metrics with a value "
            "for each sample [@nichols2002permutation]."
        )
    tested = sum(s.p is not None for s in scores)
    found.append(
        f"All {tested} tests form one family, adjusted by Benjamini and Hochberg "
        "[@benjamini1995fdr]."
    )
    levels = sorted({s.interval.level for s in scores if s.interval is not None})
    if len(levels) == 1:
        texts, pairs = (_resamples(f) for f in (text_scores, bootstrap_interval))
        found.append(
            f"Intervals of {levels[0]:.0%} are bootstrap percentiles [@efron1979bootstrap] over "
            f"whole runs ({texts:,} resamples for text metrics, {pairs:,} for pairwise accuracy)."
        )
    return found


def _resamples(function: object) -> int:
    return int(inspect.signature(function).parameters["resamples"].default)  # type: ignore[arg-type]
