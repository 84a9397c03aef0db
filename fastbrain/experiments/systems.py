"""Training, evaluation and configuration of a run, whichever system it is of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .._arguments import checked
from .._run_kind import require_kind
from .._runfiles import read_manifest
from ..brainllm.evaluate import evaluate_brainllm_run
from ..brainllm.training.pipeline import BrainLLMRunConfig, train_brainllm_run
from ..data import VoxelStore
from ..errors import CheckpointError
from ..evaluation.report.run_facts import read_config
from ..evaluation.run_store import open_store
from ..llm4brain.evaluate import evaluate_run
from ..llm4brain.training.pipeline import train_llm4brain
from ..llm4brain.training.run_config import RunConfig
from ..lm.kept_llm import find_llm, kept_llm
from ..stats.derangements import check_count
from .grid import Variant, run_variants
from .results import Results


@dataclass(frozen=True)
class System:
    """A system with runs that can be trained and scored.

    Parameters
    ----------
    name : str
    train : callable
        ``(store, out, config, *, resume, device, allow_leak)``.
    evaluate : callable
        ``(run, *, store, count, seed, bert, device)``.
    seeded : callable
        Maps a configuration and a seed to the configuration with this seed in all its parts.
    """

    name: str
    train: Callable[..., Any]
    evaluate: Callable[..., Any]
    seeded: Callable[[Any, int], Any]


@dataclass(frozen=True, eq=False)
class Base:
    """The run that an experiment varies.

    Parameters
    ----------
    run : Path
    system : System
    config : RunConfig or BrainLLMRunConfig
        With the language model of the run, so that all variants share it.
    store : VoxelStore
    """

    run: Path
    system: System
    config: Any
    store: VoxelStore


def _seeded_brainllm(config: BrainLLMRunConfig, seed: int) -> BrainLLMRunConfig:
    stages = {
        name: replace(stage, seed=seed)
        for name in ("warmup", "tune")
        if (stage := getattr(config.training, name)) is not None
    }
    return replace(config, seed=seed, training=replace(config.training, **stages))


LLM4BRAIN = System("LLM4Brain", train_llm4brain, evaluate_run, RunConfig.with_seed)
BRAINLLM = System("BrainLLM", train_brainllm_run, evaluate_brainllm_run, _seeded_brainllm)


@checked
def open_base(run: str | Path, *, store: str | Path | None = None, function: str) -> Base:
    """Open the configuration and the store of a trained run.

    Parameters
    ----------
    run : str or Path
    store : str or Path, optional
        Current path of the store of its training.
    function : str
        Name of the calling function, for error messages.

    Raises
    ------
    CheckpointError
        The run is not finished, has no record of its configuration, is of the fMRI language model,
        or its store or language model is missing or was changed.
    """
    run = Path(run)
    instead = "Score all people of its study with `fastbrain leave-out vq-lm STUDY NEW`."
    kind = require_kind(run, "llm4brain", "brainllm", function=function, instead=instead)
    brainllm = kind == "brainllm"
    manifest = read_manifest(run, function=function)
    known = read_config(run, function=function)
    if known is None or "scored_trials" not in manifest:
        raise CheckpointError(
            f"{function}: {run} must be a run of `fastbrain train` or `train brainllm` with its "
            "config.json, got another folder. Train one, then vary it."
        )
    config: Any = (BrainLLMRunConfig if brainllm else RunConfig).from_dict(known)
    record = kept_llm(run)
    if record is not None:
        config = replace(config, llm=str(find_llm(record, run)))
    found = open_store(run, manifest, store, function=function)
    return Base(run, BRAINLLM if brainllm else LLM4BRAIN, config, found)


@checked
def train_and_score(
    base: Base,
    variants: Sequence[Variant],
    out: str | Path,
    *,
    seeds: Sequence[int] = (0,),
    axis: str = "",
    count: int = 100,
    bert: bool = True,
    device: str = "cpu",
    allow_leak: str | None = None,
) -> Results:
    """Train and score variants of a run with the functions of its system.

    Parameters
    ----------
    base : Base
    variants, out, seeds, axis
        See :func:`run_variants`. Split, language model and derangements are the same for all.
    count, bert
        Number of derangements, and whether to compute BERTScore and retrieval by meaning.
    device : str
    allow_leak : str, optional
        Reason to accept a leak; see :func:`fastbrain.train_llm4brain`.

    Raises
    ------
    InputError
        There are too few derangements.
    """
    check_count(count, function="study")
    system = base.system

    def train(variant: Variant, seed: int, run: Path, resume: bool) -> None:
        own = system.seeded(variant.config, seed)
        system.train(base.store, run, own, resume=resume, device=device, allow_leak=allow_leak)

    def evaluate(run: Path) -> None:
        system.evaluate(run, store=base.store.path, count=count, bert=bert, device=device)

    about = {"store_fingerprint": base.store.fingerprint(), "derangements": count, "bert": bert}
    return run_variants(
        variants, out, train=train, evaluate=evaluate, seeds=seeds, axis=axis, about=about
    )
