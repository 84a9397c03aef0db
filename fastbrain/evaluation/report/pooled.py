"""Pool the samples of the folds of a cross-validation, each scored by the model of its own fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._runfiles import read_metrics
from ...errors import InputError
from ...stats.inference import block_flip_p, bootstrap_interval, sign_flip_p
from ..analyses.linear_baseline import linear_comparison
from ..controls.conditions import DERANGED, block_effect
from ..protocol import find_score
from ..records import read_samples, sample_scores
from ..scores import Score, with_adjusted
from .table import TITLES, linear_first, score_rows

# means over samples, larger is better; BLEU and word error rate are ratios of sums over a corpus
_POOLED = (
    *("pairwise", "linear_pairwise", "meaning_two_way", "linear_two_way"),
    *("meaning_top1", "linear_top1", "meaning_top5", "linear_top5"),
    *("rougeL_f", "bertscore_f", "exact_match"),
)
_BY_UNIT = ("pairwise", "linear_pairwise", "meaning_top1", "linear_top1", "rougeL_f")


@dataclass(frozen=True, eq=False)
class Pooled:
    """Scores of all folds of a cross-validation together.

    Parameters
    ----------
    unit : str
        What was left out: ``"run"``, ``"session"``, ``"story"`` or ``"subject"``.
    scores : tuple of Score
        Over all samples (``group=""``); of each unit (``"run 03"``); mean over units (``"runs"``,
        or ``"people"``).
    comparison : list of dict
        See :func:`fastbrain.evaluation.analyses.linear_baseline.linear_comparison`; blocks are
        units.
    part : {"fold", "grid"}
        What each evaluation is of.
    tested : mapping of str to sequence of str
        Folder of each model to the units that it was tested on, where known.
    """

    unit: str
    scores: tuple[Score, ...]
    comparison: list[dict[str, Any]]
    part: str = "fold"
    tested: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def table(self) -> str:
        """Format the pooled scores and those of each unit as Markdown."""
        pooled = [s for s in self.scores if not s.group]
        columns = {"name": "metric", "value": "pooled", "interval": "95 % interval"}
        columns |= {"chance": DERANGED, "p": "p", "adjusted": "p adjusted"}
        lines = _markdown(columns, score_rows(pooled))
        names = [m for m in _BY_UNIT if any(s.metric == m for s in pooled)]
        lines += ["", *_markdown({"unit": self.unit, "n": "n", **_titles(names)}, self._units())]
        n = pooled[0].n if pooled else 0
        count = len({s.group for s in self.scores if s.group.startswith(f"{self.unit} ")})
        units = plural(self.unit)
        lines += [
            "",
            f"n = {n} windows in {count} {units}, each scored by the model of its {self.part}. "
            f"Intervals resample {units}; p is from sign flips of {units}; chance is that of the "
            f"{self.part}. "
            "Pairwise accuracy is teacher-forced.",
        ]
        if self.tested:
            models = (f"{name} on {', '.join(own)}" for name, own in self.tested.items())
            lines += ["", f"Models and the {units} that they were tested on: {'; '.join(models)}."]
        first = linear_first({"linear_baseline": {"comparison": self.comparison}})
        return "\n".join([first, "", *lines] if first else lines)

    def _units(self) -> list[dict[str, str]]:
        rows: dict[str, dict[str, str]] = {}
        for score in self.scores:
            own = score.group.startswith(f"{self.unit} ") or score.group == plural(self.unit)
            if own and score.metric in _BY_UNIT:
                label = score.group.removeprefix(f"{self.unit} ")
                mean = score.group == plural(self.unit)
                label = "mean" if mean else label
                n = f"{score.n} {score.group}" if mean else str(score.n)
                row = rows.setdefault(label, {"unit": label, "n": n})
                row[score.metric] = f"{score.value:.3f}"
        return sorted(rows.values(), key=lambda row: (row["unit"] == "mean", row["unit"]))


@checked
def pool_folds(
    runs: Sequence[str | Path],
    units: Mapping[str, str],
    *,
    unit: str,
    seed: int = 0,
    part: str = "fold",
) -> Pooled:
    """Pool the samples of evaluated runs that were tested on different trials.

    Parameters
    ----------
    runs : sequence of str or Path
        Folders with ``metrics.json`` and ``samples.parquet``, one for each fold. The partners of a
        sample are of the same fold, so that all its likelihoods are from one model.
    units : mapping of str to str
        Trial id to the label of the left-out unit, for instance its run. Units are independent
        samples of the experiment: they are resampled and flipped as a whole.
    unit : str
        What `units` are, in the singular.
    seed : int
    part : {"fold", "grid"}
        What each evaluation is of, for the texts.

    Returns
    -------
    Pooled

    Raises
    ------
    InputError
        There is no run, two folds scored one trial, or a trial has no unit.
    CheckpointError
        A ``metrics.json`` is missing or damaged.
    """
    values: dict[str, list[npt.NDArray[np.float64]]] = {}
    chances: dict[str, list[npt.NDArray[np.float64]]] = {}
    modes: dict[str, Any] = {}
    trials: list[str] = []
    for run in map(Path, runs):
        columns = read_samples(run / "samples.parquet")
        facts = read_metrics(run / "metrics.json", function="pool_folds")
        known = [Score.from_json(row) for row in facts["scores"]]
        trials += columns["trial_id"]
        for name, each in sample_scores(columns).items():
            if name in _POOLED:
                beside = find_score(known, name)
                if beside.chance is None:
                    continue
                values.setdefault(name, []).append(each)
                chances.setdefault(name, []).append(np.full(len(each), beside.chance))
                modes[name] = beside.mode
    _check(runs, trials, units)
    labels = [units[t] for t in trials]
    # a metric that one fold lacks (five candidates need five samples), or has without its chance
    # level, cannot be pooled
    whole = {m: np.concatenate(values[m]) for m in _POOLED if len(values.get(m, ())) == len(runs)}
    found: list[Score] = []
    singles: list[Score] = []
    for metric, each in whole.items():
        pooled, single = _scores(
            metric, modes[metric], each, np.concatenate(chances[metric]), labels, unit, seed, part
        )
        found.append(pooled)
        singles += single
    comparison = linear_comparison(whole, labels, seed=seed)
    return Pooled(unit, (*with_adjusted(found), *singles), comparison, part)


def _check(runs: Sequence[object], trials: Sequence[str], units: Mapping[str, str]) -> None:
    unknown = [t for t in trials if not units.get(t)]
    if not runs or unknown or len(set(trials)) != len(trials):
        raise InputError(
            f"pool_folds: every trial must have a unit and be scored by one fold, got {len(runs)} "
            f"folds, {len(unknown)} trials without a unit {unknown[:1]} and "
            f"{len(trials) - len(set(trials))} trials scored again."
        )


def _scores(
    metric: str,
    mode: Any,
    values: npt.NDArray[np.float64],
    chance: npt.NDArray[np.float64],
    labels: Sequence[str],
    unit: str,
    seed: int,
    part: str,
) -> tuple[Score, list[Score]]:
    """Score of all samples, and the scores of each unit and their mean."""
    gains = values - chance
    pooled = Score(
        metric,
        mode,
        float(values.mean()),
        len(values),
        float(chance.mean()),
        DERANGED,
        block_flip_p(gains, labels, seed=seed),
        bootstrap_interval(values, blocks=labels, seed=seed),
        f"mean over samples of all {part}s; p: sign flips of {plural(unit)}",
        effect=block_effect(gains, labels),
    )
    names = sorted(set(labels))
    rows = [np.array([label == name for label in labels]) for name in names]
    singles = [
        Score(
            metric, mode, float(values[own].mean()), int(own.sum()), float(chance[own].mean()),
            DERANGED, signature=f"mean over samples; chance of the {part}", group=f"{unit} {name}",
        )
        for name, own in zip(names, rows, strict=True)
    ]  # fmt: skip
    if len(names) > 1:
        means = np.array([gains[own].mean() for own in rows])
        singles.append(
            Score(
                metric,
                mode,
                float(np.mean([s.value for s in singles])),
                len(names),
                float(np.mean([s.chance for s in singles])),
                DERANGED,
                sign_flip_p(means, seed=seed),
                signature=f"mean over {plural(unit)}; p: sign flips of {plural(unit)}",
                group=plural(unit),
                effect=block_effect(means, names),
            )
        )
    return pooled, singles


def plural(unit: str) -> str:
    """Plural of a unit: runs, sessions, stories, people."""
    return {"subject": "people", "story": "stories"}.get(unit, f"{unit}s")


def _titles(names: Sequence[str]) -> dict[str, str]:
    return {name: TITLES.get(name, name) for name in names}


def _markdown(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"| {' | '.join(columns.values())} |",
        "|---" * len(columns) + "|",
        *(f"| {' | '.join(str(row.get(key, '-')) for key in columns)} |" for row in rows),
    ]
