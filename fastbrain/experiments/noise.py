"""Scores of a trained run on its test recordings with more and more noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .._arguments import checked
from .._io import write_json
from .._run_kind import require_kind
from .._runfiles import read_manifest
from ..brainllm.evaluate import evaluate_brainllm, open_brainllm_run
from ..data import VoxelStore
from ..errors import ConfigError
from ..evaluation import write_samples
from ..evaluation.analyses.partners import have_partners_across_runs
from ..evaluation.controls.noise import noisier_store
from ..evaluation.protocol import Evaluation
from ..evaluation.run_store import scored_windows
from ..evaluation.threads import one_thread
from ..llm4brain.evaluate import evaluate_model
from ..llm4brain.open_run import open_run
from ..stats.derangements import check_count
from .grid import Variant, run_variants
from .results import Results

LEVELS = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class NoiseLevel:
    """Noise added to the test recordings.

    Parameters
    ----------
    level : float
        Standard deviation over that of the recording.
    """

    level: float

    def to_dict(self) -> dict[str, float]:
        """Convert to a plain dict for JSON."""
        return asdict(self)


@one_thread()
@checked
def noise_sweep(
    run: str | Path,
    out: str | Path,
    *,
    levels: Sequence[float] = LEVELS,
    seeds: Sequence[int] = (0,),
    store: str | Path | None = None,
    count: int = 100,
    bert: bool = True,
    device: str = "cpu",
) -> Results:
    """Score a trained run with noise added to the test recordings; nothing is trained again.

    Parameters
    ----------
    run : str or Path
        Run of LLM4Brain or BrainLLM.
    out : str or Path
        New folder; the same call goes on where an interrupted one stopped.
    levels : sequence of float
        Standard deviation of the noise over that of the recording, in every voxel; see
        :func:`fastbrain.evaluation.controls.noise.noisier_store`. 0 is always scored, first.
    seeds : sequence of int
        Seeds of the noise.
    store : str or Path, optional
        Current path of the store.
    count, bert
        See :func:`fastbrain.evaluate_run`.
    device : str

    Returns
    -------
    Results
        A curve over the levels. Windows that are held without noise are not scored; no others are
        held.

    Raises
    ------
    ConfigError
        There is no level above 0, or one twice.
    CheckpointError
        The run is of the fMRI language model, or see :func:`fastbrain.open_run`.
    """
    check_count(count, function="study noise")
    wanted = check_levels(levels, seeds)
    judge, data, ids = _scorer(run, store, count, bert, device)

    def train(variant: Variant, seed: int, folder: Path, resume: bool) -> None:
        del resume
        write_json(folder / "manifest.json", {**variant.config.to_dict(), "seed": seed})

    def evaluate(folder: Path) -> None:
        level = next(v for v in variants if v.name == folder.parent.name).config.level
        seed = int(folder.name.removeprefix("seed-"))
        result = judge(noisier_store(data, level, seed=seed), ids)
        write_samples(folder / "samples.parquet", result)
        write_json(folder / "metrics.json", result.to_json())

    variants = [
        Variant(f"noise-{level:g}", _title(level), NoiseLevel(level), level) for level in wanted
    ]
    about = {"store_fingerprint": data.fingerprint(), "derangements": count, "bert": bert}
    return run_variants(
        variants,
        out,
        train=train,
        evaluate=evaluate,
        seeds=seeds,
        axis="noise (standard deviations of the recording)",
        about=about,
    )


def check_levels(levels: Sequence[float], seeds: Sequence[int]) -> tuple[float, ...]:
    """Return 0 and the levels, sorted.

    Raises
    ------
    ConfigError
        There is no level above 0, or one twice, or a seed is negative.
    """
    wanted = [level for level in levels if level != 0]
    if not wanted or len(set(wanted)) < len(wanted) or not all(level > 0 for level in wanted):
        raise ConfigError(
            f"study noise: levels must be different numbers above 0, got {list(levels)}."
        )
    if any(seed < 0 for seed in seeds):
        raise ConfigError(f"study noise: seeds must be 0 or more, got {list(seeds)}.")
    return (0.0, *sorted(wanted))


def _title(level: float) -> str:
    share = 1 / (1 + level**2)
    return f"noise of {level:g} SD ({share:.0%} of the variance is the recording's)"


Judge = Callable[[VoxelStore, tuple[str, ...]], Evaluation]


@checked
def _scorer(
    run: str | Path, store: str | Path | None, count: int, bert: bool, device: str
) -> tuple[Judge, VoxelStore, tuple[str, ...]]:
    """Function that scores the run on a view of its store, the store, and the trials to score."""
    kind = require_kind(
        run, "llm4brain", "brainllm", function="study noise",
        instead="Noise is added to recordings with texts.",
    )  # fmt: skip
    manifest = read_manifest(run, function="study noise")
    how: dict[str, Any] = {"count": count, "bert": bert, "linear": False}
    if kind == "brainllm":
        saved, data, _ = open_brainllm_run(run, store=store, device=device)
        ids, _ = scored_windows(run, manifest, data, function="study noise")
        how["within_runs"] = not have_partners_across_runs([data.by_id[t] for t in ids])
        return lambda view, own: evaluate_brainllm(saved, view, own, **how), data, ids
    model, data, _ = open_run(run, store=store, device=device)
    ids, _ = scored_windows(run, manifest, data, function="study noise")
    how["within_runs"] = not have_partners_across_runs([data.by_id[t] for t in ids])
    return lambda view, own: evaluate_model(model, view, own, **how), data, ids
