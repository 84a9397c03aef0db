"""Train and score variants of a configuration on several seeds; finished ones are kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._arguments import checked
from .._environment import check_environment
from .._io import new_output, write_json
from .._progress import say
from .._rules import record_of, table_of
from .._runfiles import changed_entries, read_metrics, read_record
from ..errors import CheckpointError, ConfigError
from ..evaluation.records import read_samples
from ..evaluation.scores import Score
from .results import Results, Scored, compare_variants

_RECORD = {"about": record_of({}), "variants": table_of(record_of({}))}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@checked
@dataclass(frozen=True)
class Variant:
    """One variant of an experiment.

    Parameters
    ----------
    name : str
        Name of its folder: letters, digits, dots, hyphens and underscores.
    title : str
        What differs, for tables.
    config : RunConfig or BrainLLMRunConfig
    value : float, optional
        Position on the axis, for variants that are points of a curve.
    """

    name: str
    title: str
    config: Any
    value: float | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"Variant: name must be letters, digits, '.', '-' or '_', got {self.name!r}."
            )


@checked
def run_variants(
    variants: Sequence[Variant],
    out: str | Path,
    *,
    train: Callable[[Variant, int, Path, bool], object],
    evaluate: Callable[[Path], object],
    seeds: Sequence[int] = (0,),
    axis: str = "",
    about: Mapping[str, Any] | None = None,
) -> Results:
    """Train every variant on every seed, score it, and compare all with the first variant.

    Parameters
    ----------
    variants : sequence of Variant
        The first is the reference. All are scored on the same trials.
    out : str or Path
        Folder of ``NAME/seed-S``, each a run folder. The same call goes on where an interrupted
        one stopped; variants and seeds may be added.
    train : callable
        ``train(variant, seed, run, resume)`` trains a variant into the folder `run`, which has a
        ``manifest.json`` when training is finished.
    evaluate : callable
        ``evaluate(run)`` writes ``metrics.json`` and ``samples.parquet`` into the run folder.
    seeds : sequence of int
    axis : str
        What ``Variant.value`` is, with its unit.
    about : mapping, optional
        Facts that must stay the same, as JSON values: fingerprint of the store, derangements.

    Returns
    -------
    Results

    Raises
    ------
    ConfigError
        Two variants have one name, or there are no seeds.
    CheckpointError
        `out` was begun with other configurations or other facts.
    """
    names = [v.name for v in variants]
    if not names or len(set(names)) < len(names) or not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(
            f"study: variants and seeds must be at least one, each once, got {names} and "
            f"{list(seeds)}."
        )
    check_environment(out, function="study")
    out = new_output(out, resume=True)
    _claim(out, variants, dict(about or {}))
    jobs = [(variant, seed) for seed in seeds for variant in variants]
    for number, (variant, seed) in enumerate(jobs, start=1):
        folder = out / variant.name / f"seed-{seed}"
        if (folder / "metrics.json").is_file() and (folder / "samples.parquet").is_file():
            continue
        say(f"{number} of {len(jobs)}: {variant.title}, seed {seed}")
        if not (folder / "manifest.json").is_file():
            train(variant, seed, folder, folder.exists())
        evaluate(folder)
    scored = {v.name: [_scored(out / v.name / f"seed-{s}") for s in seeds] for v in variants}
    titles = {v.name: v.title for v in variants}
    values = {v.name: v.value for v in variants if v.value is not None}
    return compare_variants(scored, titles, values=values, axis=axis)


def _scored(run: Path) -> Scored:
    facts = read_metrics(run / "metrics.json", function="study")
    scores = tuple(Score.from_json(row) for row in facts["scores"])
    return Scored(read_samples(run / "samples.parquet"), scores)


def _claim(out: Path, variants: Sequence[Variant], about: dict[str, Any]) -> None:
    """Record variants and facts, or check that they are those of an earlier call."""
    path = out / "experiment.json"
    asked = {v.name: v.config.to_dict() for v in variants}
    known: dict[str, Any] = {}
    if path.is_file():
        before = read_record(path, _RECORD, function="study")
        known = before["variants"]  # variants may be added later
        same = {name: config for name, config in asked.items() if name in known}
        changed = changed_entries(about, before["about"], exact=True)
        changed += changed_entries(same, known)
        if changed:
            raise CheckpointError(
                f"study: {out} must keep what {path} names, got another {', '.join(changed)}. "
                "Use a new folder."
            )
    write_json(path, {"about": about, "variants": {**known, **asked}})
