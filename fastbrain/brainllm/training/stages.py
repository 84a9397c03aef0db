"""Training stages of BrainLLM: steering, warm-up towards word vectors, then prompt tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..._arguments import checked
from ...errors import ConfigError, LeakError
from ...lm.lora import is_adapter
from ...training.data_parallel import add_numbers
from ...training.loop import fit
from ...training.run import History, Row
from ...training.validation import divided, mean_terms
from ..model import BrainLLM
from .dataset import BrainTextLoader, BrainTexts
from .objectives import PromptTuning, WarmUp
from .presets import BrainLLMTraining
from .steering import SteeringFit, fit_steering

# folders with a log, in the order of training
STAGE_NAMES = ("warmup", "tune")


@checked
def train_brainllm(
    model: BrainLLM,
    train: BrainTexts,
    val: BrainTexts,
    config: BrainLLMTraining,
    *,
    run_dir: str | Path,
    resume: bool = False,
    on_epoch: Callable[[Row], None] | None = None,
) -> dict[str, History | SteeringFit]:
    """Train a BrainLLM; the validation part is used for early stopping and the steering penalty.

    Parameters
    ----------
    model : BrainLLM
    train, val : BrainTexts
        Two disjoint parts. The test part must not be passed.
    config : BrainLLMTraining
        For instance from :func:`brainllm_preset`.
    run_dir : str or Path
        Each stage writes into its own subfolder.
    resume : bool
        Continue from the newest checkpoints.
    on_epoch : callable, optional
        Receives the row of every finished epoch of both stages.

    Returns
    -------
    dict
        ``"warmup"`` and ``"tune"`` map to a History, ``"steering"`` to a SteeringFit.

    Raises
    ------
    LeakError
        A sample or an identical window is in both parts.
    ConfigError
        The target of the warm-up is the prompt, and a sample has none.
    InputError
        A text is longer than allowed; texts are never truncated silently.
    """
    _disjoint(train, val)
    empty = any(not (p.strip() if isinstance(p, str) else p) for p in train.prompts)
    if config.warmup and config.target == "prompt" and empty:
        raise ConfigError(
            "train_brainllm: target must not be 'prompt' where a sample has none. Take "
            "target='continuation'."
        )
    done: dict[str, History | SteeringFit] = {}
    if model.steer is not None:
        done["steering"] = fit_steering(model, train, val, config)
    for name, stage, kind in (
        (STAGE_NAMES[0], config.warmup, WarmUp),
        (STAGE_NAMES[1], config.tune, PromptTuning),
    ):
        if stage is None or not model.speaks:
            continue
        objective = kind(model, config)
        model.requires_grad_(True)
        model.llm.requires_grad_(False)
        if model.tuned is not None and name == "tune":
            for part, parameter in model.llm.named_parameters():
                parameter.requires_grad_(is_adapter(part))
        # the warm-up does not use the marks, and steering is already fitted
        model.marks.requires_grad_(name == "tune")
        if model.steer is not None:
            model.steer.requires_grad_(False)
        loader = BrainTextLoader(train, batch_size=stage.batch_size, seed=stage.seed)
        done[name] = fit(
            objective,
            loader,
            stage,
            run_dir=Path(run_dir) / name,
            resume=resume,
            validate=validation_of(objective, val, stage.batch_size),
            on_epoch=on_epoch,
        )
    return done


def validation_of(
    objective: PromptTuning | WarmUp, val: BrainTexts, batch_size: int
) -> Callable[[], Mapping[str, float]]:
    """Return a function that computes the loss of an objective on a validation part."""

    def validate() -> Mapping[str, float]:
        batches = BrainTextLoader(val, batch_size=batch_size, shuffle=False)
        if isinstance(objective, WarmUp):
            return mean_terms(objective, batches)
        with divided(batches):
            own = (b for b in batches if b.shard is None or b.shard.rows)
            totals = [objective.total(batch) for batch in own]
        nll, tokens = add_numbers(float(sum(n for n, _ in totals)), sum(t for _, t in totals))
        return {"loss": nll / tokens}

    return validate


def _disjoint(train: BrainTexts, val: BrainTexts) -> None:
    shared = sorted(set(train.trial_ids) & set(val.trial_ids))
    rows = {w.numpy().tobytes() for w in train.windows.float().cpu()}
    same = sum(w.numpy().tobytes() in rows for w in val.windows.float().cpu())
    if shared or same:
        raise LeakError(
            f"train_brainllm: train and val must be disjoint, got {len(shared)} samples "
            f"{shared[:3]} and {same} identical windows in both."
        )
