"""Cross-validation over the people of a resting study: every person is tested once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .._arguments import checked
from .._io import new_output, read_json, write_atomic, write_json
from .._progress import say
from .._runfiles import changed_entries
from ..data import ConnectomeStudy, RestingStudy
from ..errors import CheckpointError
from ..evaluation.metrics.clinical import label_scores, scale_scores
from ..evaluation.scores import Score
from .evaluate_run import evaluate_vqlm_run
from .report import people_rows
from .run_records import study_fingerprint
from .training.config import VQLMConfig
from .training.people import fold_people
from .training.pipeline import train_vqlm

_METRICS = {"scale": ("mae", "r"), "label": ("auroc", "balanced_accuracy")}


@dataclass(frozen=True)
class PooledPeople:
    """Scores over the test people of all folds.

    Parameters
    ----------
    scores : tuple of Score
        By prediction method, named in `group`. Predictions are permuted within folds for chance and
        p, because folds differ in their training people.
    n_folds : int
    """

    scores: tuple[Score, ...]
    n_folds: int

    def table(self) -> str:
        """Format the scores as a Markdown table."""
        lines = [
            f"| prediction, {self.n_folds} folds | metric | value | chance | p | people |",
            "|---|---|---|---|---|---|",
        ]
        for score in self.scores:
            chance = "" if score.chance is None else f"{score.chance:.2f}"
            p = "" if score.p is None else f"{score.p:.3f}"
            cells = [score.group, score.metric, f"{score.value:.2f}", chance, p, str(score.n)]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)


@checked
def leave_out_people(
    study: RestingStudy | ConnectomeStudy,
    out: str | Path,
    config: VQLMConfig | None = None,
    *,
    folds: int = 5,
    permutations: int = 999,
    seed: int = 0,
    fused: Callable[[Any], object] | None = None,
) -> PooledPeople:
    """Train and score one vq-lm run for each fold of families, and pool the test people.

    Parameters
    ----------
    study : RestingStudy or ConnectomeStudy
    out : str or Path
        Folder of ``fold-NN``; finished folds are kept.
    config : VQLMConfig, optional
    folds : int
    permutations : int
    seed : int
        Seed of the folds and permutations.
    fused : callable, optional
        See :func:`train_vqlm`.

    Returns
    -------
    PooledPeople
        Also written: ``scores.json``, ``folds.md`` and ``subjects.md``.

    Raises
    ------
    SplitError
        There are too few families.
    CheckpointError
        A finished fold was made with another configuration or study.
    """
    config = config or VQLMConfig()
    splits = fold_people(study, folds, seed=seed)
    out = new_output(out, resume=True)
    asked = {"config": config.to_dict(), "folds": folds, "seed": seed}
    asked["study_fingerprint"] = study_fingerprint(study, config.target)
    path = out / "leave_out.json"
    if path.is_file() and changed_entries(asked, read_json(path), exact=True):
        raise CheckpointError(
            f"leave-out: {out} must keep its configuration and study, got others than {path} "
            "names. Use a new folder."
        )
    write_json(path, asked)
    found = []
    for k, split in enumerate(splits):
        run = out / f"fold-{k:02d}"
        if not (run / "metrics.json").is_file():
            say(f"fold {k + 1} of {folds} starts")
            train_vqlm(study, run, config, resume=run.exists(), fused=fused, split=split)
            evaluate_vqlm_run(run, study, permutations=permutations, seed=seed)
        found.append(read_json(run / "metrics.json"))
    pooled = PooledPeople(_pooled(found, config.kind, permutations, seed), folds)
    write_json(out / "scores.json", [score.to_json() for score in pooled.scores])
    write_atomic(out / "folds.md", pooled.table() + "\n")
    write_atomic(out / "subjects.md", _people(found))
    return pooled


def _pooled(
    found: Sequence[dict[str, Any]], kind: str, permutations: int, seed: int
) -> tuple[Score, ...]:
    truth = [value for one in found for value in one["truth"].values()]
    groups = [one["families"][p] for one in found for p in one["truth"]]
    strata = [k for k, one in enumerate(found) for _ in one["truth"]]
    how: dict[str, Any] = {"groups": groups, "strata": strata, "permutations": permutations}
    score: Callable[..., dict[str, Score]]
    if kind == "scale":
        score = partial(scale_scores, truth, **how, seed=seed)
    else:
        labels = found[0]["labels"]
        score = partial(label_scores, truth, classes=labels, **how, seed=seed)
    scores = []
    for way in found[0]["predicted"]:
        guess = np.array([one["predicted"][way][p] for one in found for p in one["truth"]])
        scores += [replace(score(guess)[name], group=way) for name in _METRICS[kind]]
    return tuple(scores)


def _people(found: Sequence[dict[str, Any]]) -> str:
    rows = [
        {"fold": str(k), **row}
        for k, one in enumerate(found)
        for row in people_rows(one["predicted"], one["truth"], one["labels"])
    ]
    lines = [f"| {' | '.join(rows[0])} |", f"|{'---|' * len(rows[0])}"]
    return "\n".join([*lines, *(f"| {' | '.join(row.values())} |" for row in rows)]) + "\n"
