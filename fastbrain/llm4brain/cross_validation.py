"""Cross-validation: each run, session, story or subject is held out once, each fold a model."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from .._arguments import checked
from .._io import new_output, read_json, write_atomic, write_json
from .._processes import run_in_processes
from .._progress import say
from .._runfiles import changed_entries
from ..data import (
    Split,
    split_folds,
    split_leave_one_out,
    split_subject_folds,
    write_collection,
    write_store,
)
from ..data.readers.events import Trial
from ..data.store.collection_plan import CollectionPlan
from ..data.store.plan import StorePlan
from ..errors import CheckpointError, ConfigError, some
from ..evaluation.analyses.partners import have_partners_across_runs, partners_within_runs
from ..evaluation.protocol import find_score
from ..evaluation.report.pooled import Pooled
from ..stats.derangements import check_count
from .custom_encoder import refused_on_grids
from .evaluate_grids import evaluate_any
from .pooled_runs import is_scored, pool_runs, scored_folders, scores_of
from .training.pipeline import train_llm4brain
from .training.run_config import RunConfig

Plan = Callable[[Callable[[list[Trial]], Split]], StorePlan | CollectionPlan]
By = Literal["subject", "run", "session", "story"]


@dataclass(frozen=True)
class _Splitting:
    """How trials are divided into folds."""

    by: By
    folds: int | None
    test_stimuli: float
    val_fraction: float
    closed_set: bool
    seed: int

    def splits(self, trials: Sequence[Trial]) -> tuple[Split, ...]:
        if self.by == "subject":
            return split_subject_folds(
                trials,
                folds=self.folds,
                test_stimuli=self.test_stimuli,
                val_fraction=self.val_fraction,
                seed=self.seed,
                closed_set=self.closed_set,
            )
        if self.folds is None:
            return split_leave_one_out(trials, self.by, closed_set=self.closed_set)
        return split_folds(
            trials, self.by, folds=self.folds, seed=self.seed, closed_set=self.closed_set
        )


@dataclass(frozen=True)
class FoldSystem:
    """The system that is trained and scored in each fold; LLM4Brain by default.

    Parameters
    ----------
    train : callable
        Trains a run: ``train(store, run, config, *, resume, device, allow_leak)``.
    evaluate : callable
        Evaluates it: ``evaluate(run, *, count, seed, bert, device, within_runs)``.
    """

    train: Callable[..., object] = train_llm4brain
    evaluate: Callable[..., object] = evaluate_any


@dataclass(frozen=True)
class _Fold:
    """All that one fold needs, also in another process."""

    number: int
    folder: Path
    plan: Plan
    splitting: _Splitting
    system: FoldSystem
    config: Any
    training: dict[str, Any]
    evaluation: dict[str, Any]
    silent: bool = False


@checked(least={"parallel": 1})
def leave_out(
    plan: Plan,
    out: str | Path,
    config: Any = None,
    *,
    system: FoldSystem | None = None,
    by: By = "subject",
    folds: int | None = None,
    parallel: int = 1,
    test_stimuli: float = 0.2,
    val_fraction: float = 0.2,
    closed_set: bool = False,
    derangements: int = 100,
    bert: bool = True,
    unknown_subject: str | None = None,
    allow_leak: str | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> Pooled:
    """Train one model for each fold, score what it did not see, and pool the samples of all folds.

    Parameters
    ----------
    plan : callable
        Maps a function that splits trials to the plan of a store, or of a collection of stores;
        for example a partial :func:`fastbrain.plan_store`.
    out : str or Path
        Folder of ``fold-NN/store`` and ``fold-NN/run``; finished folds are skipped.
    config : RunConfig, optional
        Configuration of the runs; for another system, its own.
    system : FoldSystem, optional
        Default: LLM4Brain.
    by : {"subject", "run", "session", "story"}
        What is held out. A label that several people or sessions share is one unit: run 01 of all
        people is held out at once.
    folds : int, optional
        Number of folds of whole units; default: one for each unit.
    parallel : int
        Number of folds at a time, in processes that divide the cores. Scores can differ in the
        last digits, as with any other number of threads.
    test_stimuli, val_fraction
        For subjects; see :func:`fastbrain.data.split_subject_folds`.
    closed_set : bool
        See :class:`fastbrain.data.Split`.
    derangements, bert, unknown_subject
        See :func:`fastbrain.evaluate_run`. If no derangement across runs exists in a fold, as in
        a single run, partners are of the same run and the fold has no p of its own.
    allow_leak, device
        See :func:`fastbrain.train_llm4brain`.
    seed : int
        Seed of folds, derangements and intervals.

    Returns
    -------
    Pooled
        Also written to ``out/scores.json`` and ``out/units.md``; for subjects ``out/subjects.md``
        has the table of LLM4Brain.

    Raises
    ------
    CheckpointError
        A finished fold was made with another configuration.
    ConfigError
        An option of subjects is given for other units, `plan` cannot be sent to a process, or an
        encoder of the user is to be trained on several grids.
    SplitError
        There are too few units, more folds than units, or a unit without a label.
    InputError
        A run that is tested alone is too short for partners.
    """
    check_count(derangements, function="leave_out")
    if by not in get_args(By):
        raise ConfigError(f"leave_out: by must be one of {get_args(By)}, got {by!r}.")
    if by != "subject" and (test_stimuli, val_fraction) != (0.2, 0.2):
        raise ConfigError(
            f"leave_out: test_stimuli and val_fraction must be left out for {by}, got "
            f"{test_stimuli} and {val_fraction}. The fold after the tested one validates."
        )
    config = config or RunConfig()
    splitting = _Splitting(by, folds, test_stimuli, val_fraction, closed_set, seed)
    first = plan(lambda trials: splitting.splits(trials)[0])
    trials, joint = list(first.trials), isinstance(first, CollectionPlan)
    if joint and (custom := config.model.custom_encoder) is not None:
        raise refused_on_grids(custom, function="leave_out")
    splits = splitting.splits(trials)
    by_id = {t.trial_id: t for t in trials}
    within = [_within_runs([by_id[t] for t in split.test], joint=joint) for split in splits]
    out = new_output(out, resume=True)
    _claim(out, {"config": config.to_dict(), "derangements": derangements, **asdict(splitting)})
    training = {"device": device, "allow_leak": allow_leak}
    evaluation = {"count": derangements, "seed": seed, "bert": bert, "device": device}
    if unknown_subject is not None:
        evaluation["unknown_subject"] = unknown_subject
    jobs = [
        _Fold(
            k, out / f"fold-{k:02d}", plan, splitting, system or FoldSystem(), config, training,
            {**evaluation, "within_runs": within[k]},
        )
        for k in range(len(splits))
    ]  # fmt: skip
    units = {t.trial_id: getattr(t, by) for t in trials}
    tested = {
        job.folder.name: sorted({units[t] for t in split.test})
        for job, split in zip(jobs, splits, strict=True)
    }
    todo = [job for job in jobs if not is_scored(job.folder / "run")]
    for name in (job.folder.name for job in todo):
        say(f"{name}, of {len(jobs)} folds, is tested on {by} {some(tested[name])}")
    for job in _finished(todo, parallel):
        say(f"{job.folder.name}: {_line(job.folder / 'run')}")
    runs = [folder for job in jobs for folder in scored_folders(job.folder / "run")]
    people = by == "subject"
    return pool_runs(runs, units, out, unit=by, people=people, seed=seed, tested=tested)


def _within_runs(test: Sequence[Trial], *, joint: bool) -> bool:
    """Whether partners must be of the same run; raise if there are none either."""
    if joint:  # chosen for each person when the fold is evaluated
        for person in {t.subject for t in test}:
            _within_runs([t for t in test if t.subject == person], joint=False)
        return False
    if have_partners_across_runs(test):
        return False
    partners_within_runs(test, count=1)
    return True


def _finished(jobs: Sequence[_Fold], parallel: int) -> Iterator[_Fold]:
    """Run the folds; yield each when it is finished."""
    if parallel == 1 or len(jobs) < 2:
        for job in jobs:
            say(f"{job.folder.name} starts")
            _run(job)
            yield job
        return
    silent = [replace(job, silent=True) for job in jobs]
    for i, _ in run_in_processes(_run, silent, processes=parallel, name="leave_out"):
        yield jobs[i]


def _run(job: _Fold) -> None:
    """Prepare, train and evaluate one fold, from where it was interrupted."""
    with _kept_lines(job.folder / "progress.txt") if job.silent else nullcontext():
        folder, run = job.folder / "store", job.folder / "run"
        plan = job.plan(lambda trials: job.splitting.splits(trials)[job.number])
        for name, value in plan.summary().items():
            say(f"{name:<12} {value}")
        # also for a finished store: write_store raises if its images or settings differ
        store = (
            write_collection(plan, folder, resume=folder.exists())
            if isinstance(plan, CollectionPlan)
            else write_store(plan, folder, resume=folder.exists())
        )
        if not (run / "manifest.json").is_file():
            job.system.train(store, run, job.config, resume=run.exists(), **job.training)
        job.system.evaluate(run, **job.evaluation)


@contextmanager
def _kept_lines(path: Path) -> Iterator[None]:
    """Write what is printed to a file at the end: lines of several folds would mix."""
    lines = io.StringIO()
    try:
        with redirect_stdout(lines), redirect_stderr(lines):
            yield
    finally:
        write_atomic(path, lines.getvalue())


def _line(run: Path) -> str:
    score = find_score(scores_of(run), "pairwise")
    return f"pairwise accuracy {score.value:.3f}, {score.n} windows"


def _claim(out: Path, asked: dict[str, object]) -> None:
    path = out / "leave_out.json"
    if path.is_file() and changed_entries(asked, read_json(path), exact=True):
        raise CheckpointError(
            f"leave-out: {out} must keep its configuration, got another than {path} names. Use a "
            "new folder."
        )
    write_json(path, asked)
