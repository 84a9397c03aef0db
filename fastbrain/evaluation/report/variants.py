"""Compare variants of a recipe: each trained and scored with several seeds, in one table.

It knows no system: the caller says how a variant is trained and evaluated. The output folder holds
``runs/VARIANT/seed-N`` (run folders), ``variants.json``, ``variants.md`` and ``variants.svg``;
finished runs are kept, and the same call goes on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._io import new_output, read_json, write_atomic, write_json
from ..._progress import say
from ..._runfiles import changed_entries, read_metrics
from ...errors import CheckpointError, ConfigError, InputError
from ...stats.inference import Interval, adjusted_p
from ..controls.conditions import paired_p
from ..records import read_samples, sample_scores
from ..scores import Score
from .figures import variant_forest
from .print_style import check_matplotlib, saved
from .table import main_scores
from .variant_rows import VariantRow, VariantTable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class Configuration(Protocol):
    """Configuration of a variant."""

    def to_dict(self) -> dict[str, Any]:
        """Convert to a plain dict for JSON."""


C = TypeVar("C", bound=Configuration)
# name of the variant, its configuration, seed, run folder, whether an interrupted run goes on
Train = Callable[[str, C, int, Path, bool], object]


@checked
def compare_variants(
    variants: Mapping[str, C],
    out: str | Path,
    *,
    seeds: Sequence[int],
    train: Train[C],
    evaluate: Callable[[Path], object],
    reference: str | None = None,
    metrics: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
) -> VariantTable:
    """Train and evaluate every variant with every seed, and compare them with a reference.

    Parameters
    ----------
    variants : mapping of str to configuration
        By name, in the order of the table. A configuration has ``to_dict``.
    out : str or Path
        Folder of the comparison.
    seeds : sequence of int
        Different from each other. Variants are compared seed by seed.
    train : callable
        ``train(name, config, seed, run, resume)`` trains one variant into the run folder `run`,
        which has a ``manifest.json`` when training is finished.
    evaluate : callable
        ``evaluate(run)`` writes ``metrics.json`` and ``samples.parquet`` into the run folder. All
        variants must be scored on the same windows.
    reference : str, optional
        Default: the first variant.
    metrics : sequence of str
        Names of the metrics of the table; default: the headline metrics that every run has.
    about : mapping, optional
        Further facts that must be the same when the comparison goes on, as JSON values: the
        fingerprint of the store, options of the evaluation.

    Returns
    -------
    VariantTable

    Raises
    ------
    ConfigError
        There are fewer than two variants, no seed or a seed twice, a name cannot be a folder, or
        `reference` is not a variant.
    CheckpointError
        `out` holds another comparison, or a file of a finished run is damaged.
    InputError
        The runs were scored on different windows, or do not share a metric.
    MissingPartError
        matplotlib is not installed.
    """
    chosen = _reference(variants, seeds, reference)
    check_matplotlib()
    root = new_output(out, resume=True)
    asked = {
        "variants": {name: config.to_dict() for name, config in variants.items()},
        "seeds": list(seeds),
        "about": dict(about or {}),
    }
    _claim(root, asked)
    runs: dict[str, list[Path]] = {name: [] for name in variants}
    for seed in seeds:
        for name, config in variants.items():
            run = root / "runs" / name / f"seed-{seed}"
            runs[name].append(run)
            if not all((run / file).is_file() for file in ("metrics.json", "samples.parquet")):
                say(f"variant {name}, seed {seed}")
                if not (run / "manifest.json").is_file():
                    train(name, config, seed, run, run.exists())
                evaluate(run)
    table = tabulate(runs, seeds=seeds, reference=chosen, metrics=metrics)
    write_json(root / "variants.json", table.to_json())
    write_atomic(root / "variants.md", f"```\n{table.text()}\n```\n")
    write_atomic(root / "variants.svg", saved(variant_forest(table.rows), "svg"))
    return table


@checked
def tabulate(
    runs: Mapping[str, Sequence[Path]],
    *,
    seeds: Sequence[int],
    reference: str,
    metrics: Sequence[str] = (),
) -> VariantTable:
    """Tabulate evaluated runs; `runs` gives those of each variant in the order of the seeds."""
    scores = {name: [_headlines(run) for run in folders] for name, folders in runs.items()}
    shared = [
        key
        for key in scores[reference][0]
        if all(key in found for each in scores.values() for found in each)
        and (not metrics or key[0] in metrics)
    ]
    if absent := set(metrics) - {metric for metric, _ in shared}:
        raise InputError(
            f"compare_variants: metrics must be scored in every run, got {sorted(absent)}."
        )
    if not shared:
        raise InputError("compare_variants: runs must share a headline metric, got none.")
    samples = {name: _samples(folders) for name, folders in runs.items()}
    ids, blocks, _ = samples[reference]
    rows = []
    for metric, mode in shared:
        first = [found[metric, mode].value for found in scores[reference]]
        for name, each in scores.items():
            row = _row(name, [found[metric, mode] for found in each])
            if name != reference:
                if samples[name][:2] != (ids, blocks):
                    raise InputError(
                        f"compare_variants: {name} must be scored on the windows of {reference}, "
                        "got others."
                    )
                change = np.subtract(row.values, first)
                row = replace(
                    row, difference=float(change.mean()), difference_interval=_over_seeds(change)
                )
                own, other = samples[name][2].get(metric), samples[reference][2].get(metric)
                if own is not None and other is not None:
                    row = replace(row, p=paired_p(own - other, blocks))
            rows.append(row)
    return VariantTable(reference, tuple(seeds), _adjusted(rows))


def _reference(variants: Mapping[str, Any], seeds: Sequence[int], reference: str | None) -> str:
    odd = [name for name in variants if not _NAME.fullmatch(name)]
    if len(variants) < 2 or odd:
        raise ConfigError(
            "compare_variants: variants must be two or more with names of letters, digits and "
            f"'._+-', got {', '.join(odd or variants) or 'none'}."
        )
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ConfigError(
            f"compare_variants: seeds must be different numbers from 0 on, got {list(seeds)}."
        )
    if reference is not None and reference not in variants:
        raise ConfigError(
            f"compare_variants: reference must be one of {', '.join(variants)}, got {reference!r}."
        )
    return reference or next(iter(variants))


def _claim(root: Path, asked: dict[str, Any]) -> None:
    path = root / "comparison.json"
    if path.is_file() and (changed := changed_entries(asked, read_json(path), exact=True)):
        raise CheckpointError(
            f"compare_variants: {root} must keep its {', '.join(changed)}, got another than {path} "
            "names. Use a new folder."
        )
    write_json(path, asked)


def _headlines(run: Path) -> dict[tuple[str, str], Score]:
    facts = read_metrics(run / "metrics.json", function="compare_variants")
    scores = main_scores([Score.from_json(row) for row in facts["scores"]])
    # the linear baseline is a property of the data, not of a variant
    return {(s.metric, s.mode): s for s in scores if not s.metric.startswith("linear_")}


def _samples(
    runs: Sequence[Path],
) -> tuple[list[str], list[str], dict[str, npt.NDArray[np.float64]]]:
    """Trial ids, blocks, and the scores of single windows averaged over the runs."""
    tables = [read_samples(run / "samples.parquet") for run in runs]
    ids, blocks = tables[0]["trial_id"], tables[0]["block"]
    for run, table in zip(runs, tables, strict=True):
        if (table["trial_id"], table["block"]) != (ids, blocks):
            raise InputError(
                f"compare_variants: {run} must be scored on the windows of {runs[0]}, got others."
            )
    found = [sample_scores(table) for table in tables]
    names = [name for name in found[0] if all(name in each for each in found)]
    return ids, blocks, {n: np.mean([each[n] for each in found], axis=0) for n in names}


def _row(variant: str, scores: Sequence[Score]) -> VariantRow:
    values = np.array([score.value for score in scores])
    chances = [score.chance for score in scores if score.chance is not None]
    return VariantRow(
        variant=variant,
        metric=scores[0].metric,
        mode=scores[0].mode,
        values=tuple(values.tolist()),
        mean=float(values.mean()),
        interval=_over_seeds(values),
        chance=float(np.mean(chances)) if len(chances) == len(scores) else None,
        control=scores[0].control,
    )


def _over_seeds(values: npt.NDArray[np.float64], level: float = 0.95) -> Interval | None:
    if len(values) < 2:
        return None
    from scipy.stats import t

    half = t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval(float(values.mean() - half), float(values.mean() + half), level)


def _adjusted(rows: Sequence[VariantRow]) -> tuple[VariantRow, ...]:
    tested = {i: p for i, row in enumerate(rows) if (p := row.p) is not None}
    found = dict(
        zip(tested, adjusted_p([rows[i].p for i in tested]), strict=True) if tested else ()
    )
    return tuple(
        replace(row, adjusted=float(found[i])) if i in found else row for i, row in enumerate(rows)
    )
