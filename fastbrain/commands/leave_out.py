"""Hold out every subject, run, session or story once: prepare, train and score fold by fold.

fastbrain leave-out cohort/runs.tsv runs/people --folds 4 --config run.json

fastbrain leave-out cohort/runs.tsv runs/by-run --by run --parallel 2

fastbrain leave-out cohort/runs.tsv runs/native --by run --native-grids

Each fold has a store of its own, because voxel statistics are those of its training windows.
Held-out people are scored on stimuli that no subject of their training part saw. Every test window
is scored once, by the model of its fold, and one table pools all folds. Finished folds are kept:
the same line goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from .._progress import say
from ..data.store.collection_plan import CollectionPlan
from ..data.store.plan import StorePlan
from ..errors import ConfigError
from ._grids import NativeGridOptions
from ._native_grids import plan_of_native_grids
from ._preparation import PreparationOptions, Splitter
from ._training import llm4brain_recipe

if TYPE_CHECKING:
    from ..evaluation.report.pooled import Pooled
    from ..llm4brain.cross_validation import FoldSystem


@dataclass(frozen=True, kw_only=True)
class Config(NativeGridOptions, PreparationOptions):
    """Options of ``fastbrain leave-out``."""

    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """New folder, or that of an interrupted cross-validation."""
    by: Literal["subject", "run", "session", "story"] = "subject"
    """What is held out. A label that people or sessions share is one unit: run 01 of all people."""
    folds: int | None = None
    """Number of folds of whole units; default: one for each unit."""
    parallel: int = 1
    """Number of folds at a time, in processes that divide the cores."""
    test_stimuli: float = 0.2
    """With --by subject: share of the stimuli that test and training people have in common, to hold
    out."""
    val_fraction: float = 0.2
    """With --by subject: share of the runs of the training people for validation."""
    closed_set: bool = False
    """The texts are a closed set (for example categories) that training may contain completely."""
    config: Path | None = None
    """JSON file with any part of the run configuration; see train --print-config."""
    preset: Literal["fastbrain", "paper", "paper-small", "published-code"] | None = None
    """Instead of --config: settings of fastbrain, of the paper or of its published code."""
    llm: str | None = None
    """Hub name or folder of a causal language model; default: a small one for each fold."""
    derangements: int = 100
    """Number of derangements for the comparison, at least 100."""
    bert: bool = True
    """Whether to compute BERTScore, cosine and identification by meaning; see evaluate."""
    unknown_subject: Literal["refuse", "mean"] | None = None
    """For a model with a table of subjects: treatment of a subject that is not in it."""
    allow_leak: str | None = None
    """Reason why a leak found by the audit is acceptable; included in every report."""
    device: str = "cpu"
    """Device for training, e.g. cuda."""
    seed: int = 0
    """Seed of folds, held-out stimuli, derangements and intervals."""


def run(config: Config) -> None:
    """Run all folds, then print the pooled scores in one table."""
    if config.native_grids and config.by == "subject":
        raise ConfigError(
            "leave-out: --by must be run, session or story with --native-grids, got subject: the "
            "weights of a grid are learned from its person. Use --resample to leave people out."
        )
    recipe = llm4brain_recipe(config, function="leave-out")
    run_folds(config, recipe)


def run_folds(config: Config, recipe: Any, system: FoldSystem | None = None) -> None:
    """Run all folds of a system with a recipe, then print the pooled scores."""
    from ..evaluation import subject_table
    from ..evaluation.protocol import find_score

    try:
        found = _leave_out(config, recipe, system)
    except KeyboardInterrupt:
        say("finished folds are kept: the same line goes on")
        raise
    print(found.table())
    if config.by == "subject":
        people = find_score(found.scores, "pairwise", group="people")
        print(f"\n{subject_table(found.scores)}")
        print(f"pairwise accuracy over {people.n} people {people.value:.3f}, p {people.p:.4f}")
        say(f"all people: {config.out / 'subjects.md'}")
    say(f"all folds: {config.out / 'units.md'}")


def _leave_out(config: Config, recipe: Any, system: FoldSystem | None) -> Pooled:
    from ..llm4brain.cross_validation import leave_out

    return leave_out(
        partial(_plan, config),
        config.out,
        recipe,
        system=system,
        by=config.by,
        folds=config.folds,
        parallel=config.parallel,
        test_stimuli=config.test_stimuli,
        val_fraction=config.val_fraction,
        closed_set=config.closed_set,
        derangements=config.derangements,
        bert=config.bert,
        unknown_subject=config.unknown_subject,
        allow_leak=config.allow_leak,
        device=config.device,
        seed=config.seed,
    )


def _plan(config: Config, split: Splitter) -> StorePlan | CollectionPlan:
    """Plan the store of one fold; a function of the module, so that processes can be sent it."""
    if config.native_grids:
        return plan_of_native_grids(config, lambda: split)
    config.refuse_set(("centred",), "one grid", "as people share it. Add --native-grids")
    return config.plan(lambda: split, own_split=False)
