"""Scores as a table for people: each beside its chance level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ROWS = {
    "pairwise_accuracy": "pairwise accuracy (teacher-forced)",
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "rougeL_p": "ROUGE-L precision",
    "rougeL_r": "ROUGE-L recall",
    "rougeL_f": "ROUGE-L F",
    "bertscore_f": "BERTScore F",
    "exact_match": "exact sentence",
}


def score_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a metric: name, value, interval, chance, p, and whether p is at most 0.05.

    Parameters
    ----------
    metrics : mapping
        As :func:`evaluate_text` makes them.
    """
    rows = []
    for key, name in _ROWS.items():
        if key not in metrics:
            continue
        pairwise = key == "pairwise_accuracy"
        interval = metrics.get("pairwise_ci" if pairwise else f"{key}_ci")
        chance = metrics["pairwise_chance" if pairwise else f"{key}_permuted"]
        p = metrics.get("pairwise_p" if pairwise else f"{key}_pvalue")
        rows.append(
            {
                "name": name,
                "value": f"{metrics[key]:.3f}",
                "interval": f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "",
                "chance": f"{chance:.3f}",
                "p": f"{p:.4f}" if p is not None else "",
                "small": p is not None and p <= 0.05,
            }
        )
    return rows


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """The same as aligned text."""
    head = {"name": "metric", "value": "decoded", "interval": "95 % interval"}
    head |= {"chance": "deranged brain", "p": "p"}
    rows = [head, *score_rows(metrics)]
    widths = {key: max(len(row[key]) for row in rows) for key in head}
    lines = ["  ".join(f"{row[key]:<{widths[key]}}" for key in head).rstrip() for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    lines.append(f"n = {metrics['n']} windows, {metrics['n_derangements']} derangements")
    return "\n".join(lines)
