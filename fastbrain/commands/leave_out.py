"""Hold every person out once: prepare, train and score fold by fold.

fastbrain leave-out cohort/runs.tsv runs/people --folds 4 --config run.json

Each fold has a store of its own, because voxel statistics are those of its training windows; the
people of a fold are scored on stimuli that no subject of its training part saw. Finished folds are
kept: the same line goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .._arguments import checked
from .._io import new_output, read_json, write_atomic, write_json
from .._progress import say
from .._runfiles import changed_entries, read_metrics
from ..data import Split, VoxelStore, split_subject_folds, write_store
from ..data.readers.events import Trial
from ..data.store.plan import StorePlan
from ..errors import CheckpointError, ConfigError
from ._preparation import PreparationOptions

if TYPE_CHECKING:
    from ..evaluation import Score
    from ..llm4brain.training import RunConfig

Plan = Callable[[Callable[[list[Trial]], Split]], StorePlan]


@dataclass(frozen=True, kw_only=True)
class Config(PreparationOptions):
    """Options of ``fastbrain leave-out``."""

    folds: int | None = None
    """Number of folds of people; default: one for each person."""
    test_stimuli: float = 0.2
    """Share of the stimuli that test and training people have in common, to hold out."""
    val_fraction: float = 0.2
    """Share of the runs of the training people for validation."""
    closed_set: bool = False
    """The texts are a closed set (for example categories) that training may contain completely."""
    config: Path | None = None
    """JSON file with any part of the run configuration; see train --print-config."""
    preset: Literal["fastbrain", "paper", "published-code"] | None = None
    """Instead of --config: settings of fastbrain, of the paper or of its published code."""
    derangements: int = 100
    """Number of derangements for the comparison, at least 100."""
    bert: bool = True
    """Whether to compute BERTScore."""
    unknown_subject: Literal["refuse", "mean"] | None = None
    """For a model with a table of subjects: treatment of a subject that is not in it."""
    allow_leak: str | None = None
    """Reason why a leak found by the audit is acceptable; included in every report."""
    device: str = "cpu"
    """Device for training, e.g. cuda."""
    seed: int = 0
    """Seed of folds, held-out stimuli, derangements and intervals."""


def run(config: Config) -> None:
    """Run all folds, then print the scores of all people in one table."""
    from ..evaluation import mean_over_people, subject_table
    from ..llm4brain.training import RunConfig

    if config.config and config.preset:
        raise ConfigError("leave-out: --config and --preset must not both be given. Use one.")
    if config.config:
        recipe = RunConfig.from_dict(read_json(config.config))
    else:
        recipe = RunConfig.preset(config.preset or "fastbrain")
    scores = leave_subjects_out(
        lambda split: config.plan(lambda: split, own_split=False),
        config.out,
        recipe,
        folds=config.folds,
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
    print(subject_table(scores))
    for score in mean_over_people(scores, seed=config.seed):
        print(f"pairwise accuracy over {score.n} people {score.value:.3f}, p {score.p:.4f}")
    say(f"all people: {config.out / 'subjects.md'}")


@checked
def leave_subjects_out(
    plan: Plan,
    out: str | Path,
    config: RunConfig | None = None,
    *,
    folds: int | None = None,
    test_stimuli: float = 0.2,
    val_fraction: float = 0.2,
    closed_set: bool = False,
    derangements: int = 100,
    bert: bool = True,
    unknown_subject: str | None = None,
    allow_leak: str | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> list[Score]:
    """Train one model for each fold, and score each person with the model trained without them.

    Parameters
    ----------
    plan : callable
        Maps a function that splits trials to the plan of a store; for example a partial
        :func:`fastbrain.plan_store`.
    out : str or Path
        Folder of ``fold-NN/store`` and ``fold-NN/run``; finished folds are skipped.
    config : RunConfig, optional
    folds, test_stimuli, val_fraction, closed_set, seed
        See :func:`fastbrain.data.split_subject_folds`.
    derangements, bert, unknown_subject
        See :func:`fastbrain.evaluate_run`.
    allow_leak, device
        See :func:`fastbrain.train_llm4brain`.

    Returns
    -------
    list of Score
        Scores of single people from all folds, and their mean; also written to
        ``out/scores.json`` and, as a table, to ``out/subjects.md``.

    Raises
    ------
    CheckpointError
        A finished fold was made with another configuration.
    SplitError
        Fewer than two people, or more folds than people.
    """
    from ..evaluation import Score, mean_over_people, subject_table
    from ..llm4brain import evaluate_run
    from ..llm4brain.training import RunConfig, train_llm4brain

    config = config or RunConfig()

    def splits(trials: list[Trial]) -> tuple[Split, ...]:
        return split_subject_folds(
            trials,
            folds=folds,
            test_stimuli=test_stimuli,
            val_fraction=val_fraction,
            seed=seed,
            closed_set=closed_set,
        )

    count = len(splits(list(plan(lambda trials: splits(trials)[0]).trials)))
    out = new_output(out, resume=True)
    asked = {"config": config.to_dict(), "folds": count, "seed": seed, "derangements": derangements}
    _claim(out, asked)
    found: list[Score] = []
    for k in range(count):
        fold = out / f"fold-{k:02d}"
        done = fold / "run" / "metrics.json"
        if not done.is_file():
            say(f"fold {k + 1} of {count}")
            store = _store(plan, splits, k, fold / "store")
            run_dir = fold / "run"
            if not (run_dir / "manifest.json").is_file():
                train_llm4brain(
                    store,
                    run_dir,
                    config,
                    resume=run_dir.exists(),
                    device=device,
                    allow_leak=allow_leak,
                )
            evaluate_run(
                run_dir,
                count=derangements,
                seed=seed,
                bert=bert,
                device=device,
                unknown_subject=unknown_subject,
            )
        scores = [
            Score.from_json(row) for row in read_metrics(done, function="leave-out")["scores"]
        ]
        found += [s for s in scores if s.group.startswith("subject ")]
    found += mean_over_people(found, seed=seed)
    write_json(out / "scores.json", [score.to_json() for score in found])
    write_atomic(out / "subjects.md", subject_table(found) + "\n")
    return found


def _store(
    plan: Plan, splits: Callable[[list[Trial]], tuple[Split, ...]], k: int, folder: Path
) -> VoxelStore:
    # also for a finished store: write_store raises if its images or settings differ
    return write_store(plan(lambda trials: splits(trials)[k]), folder, resume=folder.exists())


def _claim(out: Path, asked: dict[str, object]) -> None:
    path = out / "leave_out.json"
    if path.is_file() and changed_entries(asked, read_json(path), exact=True):
        raise CheckpointError(
            f"leave-out: {out} must keep its configuration, got another than {path} names. Use a "
            "new folder."
        )
    write_json(path, asked)
