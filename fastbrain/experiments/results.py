"""Compare variants over seeds: means, spread, chance, and paired tests against a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from ..errors import InputError
from ..evaluation.controls.conditions import DERANGED, paired_p
from ..evaluation.protocol import find_score
from ..evaluation.records import sample_scores
from ..evaluation.report.table import LOWER, TITLES
from ..evaluation.scores import Score
from ..stats.inference import Interval, adjusted_p, bootstrap_interval

# pairwise accuracy is teacher-forced, the others score free-running text
METRICS = ("pairwise", "bleu1", "rougeL_f", "bertscore_f", "meaning_top1")


@dataclass(frozen=True, eq=False)
class Scored:
    """Samples and scores of one evaluated run.

    Parameters
    ----------
    samples : dict
        Columns of :func:`fastbrain.evaluation.read_samples`.
    scores : tuple of Score
    """

    samples: Mapping[str, list[Any]]
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class Cell:
    """One metric of one variant.

    Parameters
    ----------
    variant, metric : str
    value, spread : float
        Mean and standard deviation over seeds; the spread of one seed is 0.
    interval : Interval or None
        Of the value, resampling blocks of the mean over seeds of every sample; None for a single
        block or a corpus metric.
    chance : float or None
        Mean over seeds of the same score for deranged brains.
    p : float or None
        Largest p over seeds, against deranged brains.
    n, seeds : int
        Samples, and seeds.
    difference : float or None
        From the reference variant, seed by seed; None for the reference.
    difference_interval, difference_p : optional
        Paired by samples, with whole blocks; the p is two-sided, by sign flips. None for a corpus
        metric.
    adjusted, difference_adjusted : float or None
        p after Benjamini-Hochberg, each over all cells of the table.
    """

    variant: str
    metric: str
    value: float
    spread: float
    interval: Interval | None
    chance: float | None
    p: float | None
    n: int
    seeds: int
    difference: float | None = None
    difference_interval: Interval | None = None
    difference_p: float | None = None
    adjusted: float | None = None
    difference_adjusted: float | None = None


@dataclass(frozen=True)
class Results:
    """All cells of an experiment.

    Parameters
    ----------
    cells : tuple of Cell
        By variant, then metric; the first variant is the reference.
    titles : dict of str to str
    values : dict of str to float
        Position of each variant on the axis; empty for variants without an order.
    axis : str
        Name of the axis, with its unit.
    """

    cells: tuple[Cell, ...]
    titles: dict[str, str]
    values: dict[str, float]
    axis: str = ""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that every variant has, in the order of the table."""
        return tuple(dict.fromkeys(cell.metric for cell in self.cells))

    def of(self, variant: str, metric: str) -> Cell:
        """Return one cell.

        Raises
        ------
        InputError
            There is no such cell.
        """
        for cell in self.cells:
            if (cell.variant, cell.metric) == (variant, metric):
                return cell
        raise InputError(f"Results.of: no {metric!r} of {variant!r} in this table.")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@checked
def compare_variants(
    scored: Mapping[str, Sequence[Scored]],
    titles: Mapping[str, str],
    *,
    values: Mapping[str, float] | None = None,
    axis: str = "",
    seed: int = 0,
) -> Results:
    """Compare the evaluated runs of several variants, seed by seed.

    Parameters
    ----------
    scored : mapping of str to sequence of Scored
        Runs of each variant in the order of the seeds; the first variant is the reference.
    titles : mapping of str to str
    values : mapping of str to float, optional
    axis : str
    seed : int
        Seed of intervals and sign flips.

    Returns
    -------
    Results

    Raises
    ------
    InputError
        The runs scored different samples, or numbers of seeds differ.
    """
    runs = [run for own in scored.values() for run in own]
    first = runs[0].samples
    for name, own in scored.items():
        for run in own:
            if any(run.samples[c] != first[c] for c in ("trial_id", "truth", "block")):
                raise InputError(
                    "compare_variants: all variants must be scored on the same samples, got others "
                    f"for {name!r}. Was a window held in one of them?"
                )
    if len({len(own) for own in scored.values()}) > 1:
        counts = {name: len(own) for name, own in scored.items()}
        raise InputError(f"compare_variants: every variant must have every seed, got {counts}.")
    known = [{s.metric for s in run.scores if not s.group} for run in runs]
    metrics = [m for m in METRICS if all(m in own for own in known)]
    reference = next(iter(scored))
    cells = [
        _cell(name, metric, own, None if name == reference else scored[reference], seed)
        for name, own in scored.items()
        for metric in metrics
    ]
    return Results(_adjusted(cells), dict(titles), dict(values or {}), axis)


def _cell(
    name: str, metric: str, runs: Sequence[Scored], reference: Sequence[Scored] | None, seed: int
) -> Cell:
    scores = [find_score(run.scores, metric) for run in runs]
    values = np.array([score.value for score in scores])
    samples, blocks = _over_seeds(runs, metric), runs[0].samples["block"]
    chances = [score.chance for score in scores if score.chance is not None]
    tested = [score.p for score in scores if score.p is not None]
    cell = Cell(
        variant=name,
        metric=metric,
        value=float(values.mean()),
        spread=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        interval=None if samples is None else bootstrap_interval(samples, blocks=blocks, seed=seed),
        chance=float(np.mean(chances)) if chances else None,
        p=max(tested) if len(tested) == len(scores) else None,
        n=scores[0].n,
        seeds=len(scores),
    )
    if reference is None:
        return cell
    before = np.array([find_score(run.scores, metric).value for run in reference])
    cell = replace(cell, difference=float((values - before).mean()))
    others = _over_seeds(reference, metric)
    if samples is None or others is None:
        return cell
    return replace(
        cell,
        difference_interval=bootstrap_interval(samples - others, blocks=blocks, seed=seed),
        difference_p=paired_p(samples - others, blocks, seed=seed),
    )


def _over_seeds(runs: Sequence[Scored], metric: str) -> npt.NDArray[np.float64] | None:
    """Mean over seeds of every sample's score; None for a metric of the corpus alone."""
    found = [sample_scores(run.samples).get(metric) for run in runs]
    # BLEU is a ratio of sums: the mean over samples is another number
    if metric == "bleu1" or any(values is None for values in found):
        return None
    return np.mean([values for values in found if values is not None], axis=0)


def _adjusted(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Adjust the p against chance, and those of the differences, each as one family."""
    found = list(cells)
    for name, target in (("p", "adjusted"), ("difference_p", "difference_adjusted")):
        tested = [i for i, cell in enumerate(cells) if getattr(cell, name) is not None]
        if tested:
            family = adjusted_p([getattr(cells[i], name) for i in tested])
            for i, value in zip(tested, family, strict=True):
                changed: dict[str, Any] = {target: float(value)}
                found[i] = replace(found[i], **changed)
    return tuple(found)


def table(results: Results) -> str:
    """Format results as Markdown: a table for every metric, and what the columns are."""
    parts = []
    for metric in results.metrics:
        cells = [cell for cell in results.cells if cell.metric == metric]
        mode = " (teacher-forced)" if metric == "pairwise" else ""
        lower = ", lower is better" if metric in LOWER else ""
        lines = [
            f"## {TITLES.get(metric, metric)}{mode}{lower}",
            "",
            f"| variant | score | 95 % interval | {DERANGED} | p | p adjusted | difference | "
            "95 % interval | p | p adjusted |",
            "|---" * 10 + "|",
        ]
        parts.append("\n".join([*lines, *(_row(results.titles[c.variant], c) for c in cells)]))
    first = results.cells[0]
    seeds = "one seed" if first.seeds == 1 else f"mean ± standard deviation of {first.seeds} seeds"
    end = (
        f"n = {first.n} windows; {seeds}. p: the largest of all seeds, against deranged brains. "
        f'Differences are from "{results.titles[first.variant]}", paired by window, with '
        "two-sided p from sign flips of whole blocks. p values are adjusted by Benjamini-Hochberg "
        "over all tables, those against chance and those of differences separately."
    )
    return "\n\n".join([*parts, end])


def _row(title: str, cell: Cell) -> str:
    def number(value: float | None, form: str = ".3f") -> str:
        return "" if value is None else format(value, form)

    def span(interval: Interval | None, form: str = ".3f") -> str:
        if interval is None:
            return ""
        return f"{interval.low:{form}} to {interval.high:{form}}"

    spread = f" ± {cell.spread:.3f}" if cell.seeds > 1 else ""
    columns = (
        title,
        f"{cell.value:.3f}{spread}",
        span(cell.interval),
        number(cell.chance),
        number(cell.p, ".4f"),
        number(cell.adjusted, ".4f"),
        number(cell.difference, "+.3f"),
        span(cell.difference_interval, "+.3f"),
        number(cell.difference_p, ".4f"),
        number(cell.difference_adjusted, ".4f"),
    )
    return f"| {' | '.join(columns)} |"
