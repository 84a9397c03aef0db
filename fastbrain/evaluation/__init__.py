"""Scores that stand beside their chance level."""

from .controls import Pairwise, derangements, pairwise
from .protocol import Evaluation, Sample, evaluate_text
from .stats import Interval, bootstrap_interval, permutation_p
from .text import bert_score, bleu, rouge_l

__all__ = [
    "Evaluation",
    "Interval",
    "Pairwise",
    "Sample",
    "bert_score",
    "bleu",
    "bootstrap_interval",
    "derangements",
    "evaluate_text",
    "pairwise",
    "permutation_p",
    "rouge_l",
]
