"""Scores that stand beside their chance level."""

from .controls import Pairwise, derangements, pairwise
from .protocol import Evaluation, Sample, evaluate_text
from .ranking import Found, Retrieval, correlations, retrieval
from .report import ReportParts, write_report
from .run import evaluate_model, evaluate_run, open_run
from .scores import Score
from .stats import (
    Interval,
    adjusted_p,
    bootstrap_interval,
    effect_size,
    permutation_p,
    sign_flip_p,
)
from .text import bert_score, bleu, rouge_l

__all__ = [
    "Evaluation",
    "Found",
    "Interval",
    "Pairwise",
    "ReportParts",
    "Retrieval",
    "Sample",
    "Score",
    "adjusted_p",
    "bert_score",
    "bleu",
    "bootstrap_interval",
    "correlations",
    "derangements",
    "effect_size",
    "evaluate_model",
    "evaluate_run",
    "evaluate_text",
    "open_run",
    "pairwise",
    "permutation_p",
    "retrieval",
    "rouge_l",
    "sign_flip_p",
    "write_report",
]
