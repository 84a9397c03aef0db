"""Simulate a cohort, train on it, decode a person and stimuli never seen, and report.

fastbrain demo --out runs/demo

fastbrain demo --out runs/chance --snr 0   (no signal: must land at chance)
"""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .._environment import check_environment
from .._io import new_output, read_json, write_atomic
from .._progress import say
from .._runfiles import changed_entries
from ..data import (
    CohortDesign,
    VoxelStore,
    WindowSpec,
    prepare_store,
    read_runs_table,
    simulate_cohort,
    split_unseen,
)
from ..data.simulate.captions import QUESTION, all_meanings
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..evaluation import Evaluation
    from ..llm4brain.training import RunConfig

_NEEDED_BYTES = 4e8


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain demo``."""

    out: Path = Path("runs/demo")
    """New folder for cohort, store and run."""
    snr: float = 0.25
    """Temporal signal-to-noise ratio in grey matter; 0 is pure noise."""
    subjects: int = 6
    """Number of people; the last one is held out for testing."""
    llm: str | None = None
    """Hub name or folder of a causal language model; default: a small one, trained in seconds."""
    seed: int = 0
    """Seed of cohort, weights, order and derangements."""
    derangements: int = 100
    """Number of derangements for the comparison."""
    resume: bool = False
    """Resume an interrupted demo."""
    overwrite: bool = False
    """Remove an earlier demo in the same folder first."""
    dry_run: bool = False
    """Print what would be simulated and trained, and stop."""


def run(config: Config) -> None:
    """Simulate, train and evaluate, then print the scores."""
    design = _design(config)
    if config.dry_run:
        _say_plan(config, design)
        return
    needed = 0 if config.out.exists() else _NEEDED_BYTES
    check_environment(config.out, needed_bytes=needed, cache=config.llm is None, function="demo")
    if config.overwrite and (config.out / "demo").is_file():
        shutil.rmtree(config.out)  # the marker shows that an earlier demo made this folder
    from ..evaluation import ReportParts
    from ..evaluation.report.table import metrics_table
    from ..llm4brain import evaluate_run
    from ..llm4brain.training import train_llm4brain

    started = time.monotonic()
    out = new_output(config.out, resume=config.resume)
    write_atomic(out / "demo", "Made by fastbrain demo.\n")
    store = _store(config, out)
    corpus = out / "corpus.txt"
    write_atomic(corpus, "\n".join(m.caption for m in all_meanings()) + "\n")
    run_dir = out / "run"
    train_llm4brain(store, run_dir, _recipe(config, corpus), resume=config.resume)
    trained = round(time.monotonic() - started, 1)
    result = evaluate_run(
        run_dir,
        count=config.derangements,
        seed=config.seed,
        facts={"snr": config.snr, "seconds_before_evaluation": trained},
        parts=ReportParts(
            title="fastbrain demo: an unseen person, unseen clips",
            lead=f"Simulated cohort of {config.subjects} people at SNR {config.snr:g}. "
            "No window of this person and none of these clips and sentences was in its training "
            "part; one run of the person, without its texts, was used for adaptation.",
            notes=_notes(config),
        ),
    )
    for name in ("metrics.json", "report.html"):
        write_atomic(out / name, (run_dir / name).read_bytes())
    print(_examples(result))
    print()
    print(
        metrics_table(
            result.scores,
            derangements=config.derangements,
            distinct=result.conditions.distinct,
            facts=result.facts,
        )
    )
    whole = time.monotonic() - started
    say(f"{whole:.0f} s, {whole - trained:.0f} s of them evaluation; report: {out / 'report.html'}")


def _design(config: Config) -> CohortDesign:
    if config.subjects < 2:
        raise ConfigError(
            f"demo: --subjects must be 2 or more, got {config.subjects}: one is never trained on."
        )
    if config.derangements < 100:
        raise ConfigError(
            f"demo: --derangements must be 100 or more, got {config.derangements}: fewer give no "
            "p-value below 0.01."
        )
    return CohortDesign(subjects=config.subjects, snr=config.snr, seed=config.seed)


def _say_plan(config: Config, design: CohortDesign) -> None:
    recipe = _recipe(config, config.out / "corpus.txt")
    trials = design.subjects * design.runs * design.trials
    print(f"cohort   {design.subjects} people x {design.runs} runs x {design.trials} clips")
    print(f"volumes  {design.subjects * design.runs * design.volumes}, TR {design.tr:g} s")
    print(f"SNR      {design.snr:g}")
    print(f"windows  {trials}, those of person {design.subjects:02d} are never trained on")
    for name in ("pretrain", "video", "stage1", "stage2"):
        print(f"{name:<8} {getattr(recipe, name).epochs} epochs")
    print(f"output   {config.out}; about {_NEEDED_BYTES / 1e9:.1f} GB of disk, 2 GB of memory")
    say("dry run: nothing was written")


def _store(config: Config, out: Path) -> VoxelStore:
    cohort, design = out / "cohort", _design(config)
    if not cohort.exists():
        simulate_cohort(cohort, design)
    elif changed_entries(asdict(design), read_json(cohort / "design.json"), exact=True):
        raise ConfigError(
            f"demo: a resumed demo must keep its options, got others than {cohort} was simulated "
            "with (--snr, --subjects, --seed). Use a new folder."
        )
    folder = out / "store"
    unseen = f"{config.subjects:02d}"
    return prepare_store(
        read_runs_table(cohort / "runs.tsv"),
        folder,
        window=WindowSpec(delay_s=4.0, window_trs=4),
        kernel=(6, 6, 6),
        split=lambda trials: split_unseen(trials, test_subjects=[unseen], val_fraction=0.25),
        resume=folder.exists(),
    )


def _recipe(config: Config, corpus: Path) -> RunConfig:
    """Make a configuration that trains in about a minute on two cores."""
    from ..llm4brain import EncoderConfig, LLM4BrainConfig, QFormerConfig, VideoConfig
    from ..llm4brain.training import RunConfig, preset
    from ..training import OptimConfig

    return RunConfig(
        llm=config.llm,
        corpus=str(corpus),
        prompts=(QUESTION,),
        model=LLM4BrainConfig(
            encoder=EncoderConfig(dim=96, depth=2),
            qformer=QFormerConfig(dim=96, depth=2, mlp_ratio=2.0),
            video=VideoConfig(frames=4, size=32, dim=96),
        ),
        pretrain=replace(preset("pretrain"), epochs=2, seed=config.seed),
        video=replace(
            preset("video"),
            epochs=16,
            batch_size=32,
            seed=config.seed,
            validate_every=4,
            optim=OptimConfig(lr=2e-3, weight_decay=0.01, warmup_steps=20),
        ),
        stage1=replace(preset("stage1"), epochs=2, seed=config.seed, optim=OptimConfig(lr=3e-4)),
        stage2=replace(preset("stage2"), epochs=4, seed=config.seed, optim=OptimConfig(lr=3e-4)),
        adapt_runs=1,
        seed=config.seed,
    )


def _notes(config: Config) -> tuple[str, ...]:
    notes = [
        "The data are simulated. The small language model has read all sentences of the grammar, "
        "those of the test part among them: it knows the language, not which sentence belongs to "
        "which brain.",
        "Adaptation is transductive: the run of the unseen person that it used, without texts, is "
        "not scored.",
    ]
    if config.snr == 0:
        notes.append("SNR is 0: every score must be at chance.")
    return tuple(notes)


def _examples(result: Evaluation, n: int = 8) -> str:
    rows = [("true text", "decoded text", "text of a deranged brain")]
    rows += [
        (sample.truth, sample.decoded, other)
        for sample, other in zip(result.samples[:n], result.permuted[:n], strict=True)
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        " | ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows
    ]
    lines.insert(1, "-+-".join("-" * w for w in widths))
    return "\n".join(lines)
