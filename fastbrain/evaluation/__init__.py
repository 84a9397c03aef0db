"""Scores that stand beside their chance level."""

from .controls import Pairwise, derangements, pairwise
from .protocol import Evaluation, Sample, evaluate_text
from .report import ReportParts, write_report
from .run import evaluate_model, evaluate_run, open_run
from .stats import Interval, bootstrap_interval, permutation_p
from .text import bert_score, bleu, rouge_l

__all__ = [
    "Evaluation",
    "Interval",
    "Pairwise",
    "ReportParts",
    "Sample",
    "bert_score",
    "bleu",
    "bootstrap_interval",
    "derangements",
    "evaluate_model",
    "evaluate_run",
    "evaluate_text",
    "open_run",
    "pairwise",
    "permutation_p",
    "rouge_l",
    "write_report",
]
