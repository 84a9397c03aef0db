"""Forms of a preference test, written by ``evaluate --human-study``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .._progress import say
from ..errors import ConfigError
from ._kinds import given_options

# options of evaluate that do not change the texts of an evaluated run
_FREE = ("run", "store", "seed", "bert", "device")


@dataclass(frozen=True)
class HumanStudyOptions:
    """Options of the forms for a preference test."""

    human_study: Path | None = None
    """New folder for a blinded preference test by people: one HTML form for each rater, and a key.
    The texts of an evaluated run are used as they are."""
    raters: int = 3
    """With --human-study: number of forms."""
    pairs: int = 50
    """With --human-study: largest number of pairs of texts, drawn at random with --seed."""
    pairs_per_form: int | None = None
    """With --human-study: number of pairs that each rater sees; default: all."""


def write_forms_of_evaluated(config: Any) -> bool:
    """Write forms if they are asked for and the run is evaluated; return whether that was done.

    Raises
    ------
    ConfigError
        Options of the forms come without ``--human-study``, or options of the evaluation with an
        evaluated run.
    OutputExistsError, DiskError
        The folder exists or cannot be created.
    """
    own = [field.name for field in fields(HumanStudyOptions)]
    if config.human_study is None:
        if given := given_options(config, own):
            raise ConfigError(
                f"evaluate: {given[0]} must come with --human-study, got none. Name the folder "
                "of the forms."
            )
        return False
    from .._runfiles import read_manifest
    from ..evaluation import check_human_study
    from ..evaluation.run_store import open_store

    check_human_study(
        config.human_study,
        raters=config.raters,
        pairs=config.pairs,
        pairs_per_form=config.pairs_per_form,
    )
    if config.store is not None:
        # forms show texts of the run's own test part, not of another data set
        manifest = read_manifest(config.run, function="evaluate")
        open_store(config.run, manifest, config.store, function="evaluate")
    if not all((config.run / name).is_file() for name in ("samples.parquet", "metrics.json")):
        return False
    names = [field.name for field in fields(config) if field.name not in (*own, *_FREE)]
    if given := given_options(config, names):
        raise ConfigError(
            f"evaluate: {given[0]} must be left out with --human-study for an evaluated run, of "
            "which the texts are used. Evaluate it again first, without --human-study."
        )
    say(f"{config.run} is evaluated: its texts are used")
    write_forms(config)
    return True


def write_forms(config: Any) -> None:
    """Write forms if they are asked for; the run is evaluated."""
    if config.human_study is None:
        return
    from ..evaluation import write_human_study

    study = write_human_study(
        config.run,
        config.human_study,
        store=config.store,
        raters=config.raters,
        pairs=config.pairs,
        pairs_per_form=config.pairs_per_form,
        seed=config.seed,
    )
    left_out = ", ".join(f"{count} {reason}" for reason, count in study["left_out"].items())
    print(f"{study['pairs']} pairs on {len(study['forms'])} forms; left out: {left_out}")
    say(f"forms and instructions.md: {config.human_study}; keep its folder key/ from raters")
    say(study["approval"])
