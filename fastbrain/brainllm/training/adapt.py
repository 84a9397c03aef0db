"""Few-shot adaptation of a trained BrainLLM to a new subject with a few labelled runs.

The decoder is tuned from its trained weights. The principal components, their scale and the
steering stay those of the first training, so nothing but the decoder is fitted on the new subject.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..._arguments import checked
from ..._environment import check_alone, check_environment
from ..._io import new_output, sha256, write_json
from ..._run_kind import require_kind
from ..._runfiles import read_manifest
from ...data import FitScope, VoxelStore
from ...data.leaks.fit_scope import statistics_scope
from ...data.store.preparation import check_like, preparation_of, save_preparation
from ...errors import ConfigError
from ...lm.kept_llm import carry_llm
from ...training.config import OptimConfig, StageConfig
from ...training.few_shot_plan import audit_plan, plan_after, split_of_plan
from ...training.loop import fit
from ...training.run import Row
from ...training.run_folder import place_of
from ...training.run_log import run_log
from ...training.trackers import check_trackers
from ..saving import KIND, SavedBrainLLM, load_brainllm, save_brainllm
from .dataset import BrainTextLoader, BrainTexts
from .objectives import PromptTuning
from .presets import BrainLLMTraining
from .stages import validation_of

ADAPT = StageConfig("adapt", epochs=20, batch_size=8, optim=OptimConfig(lr=1e-4))


@checked
def adapt_brainllm(
    run: str | Path,
    store: VoxelStore,
    out: str | Path,
    *,
    subject: str,
    runs: int,
    score_runs: Sequence[str] = (),
    config: StageConfig = ADAPT,
    allow_leak: str | None = None,
    device: str = "cpu",
    log: Sequence[str] = (),
    on_epoch: Callable[[Row], None] | None = None,
) -> SavedBrainLLM:
    """Tune the decoder of a BrainLLM run on the first runs of a new subject.

    Parameters
    ----------
    run : str or Path
        Run folder of ``fastbrain train brainllm``.
    store : VoxelStore
        Store with the subject, in the form of the training windows.
    out : str or Path
        New run folder.
    subject, runs, score_runs
        See :func:`fastbrain.training.few_shot_plan.plan_few_shot`.
    config : StageConfig
    allow_leak : str, optional
        Reason to accept a leak.
    device : str
    log : sequence of {"tensorboard", "wandb", "trackio"}
        Trackers that receive the numbers of every epoch, besides ``stages/adapt/log.jsonl``.
    on_epoch : callable, optional
        Receives the row of every finished epoch; what it raises stops training.

    Returns
    -------
    SavedBrainLLM
        Also saved in ``out/model``.

    Raises
    ------
    CheckpointError
        The run is of another system, not finished, or damaged.
    StoreError
        The store is not in the form of the training windows.
    ConfigError
        The model was trained on the subject or has no decoder, or a name in `log` is unknown.
    InputError
        The subject is not in the store, or no run is left to fit on or to score.
    MissingPartError
        The package of a tracker is not installed.
    TrainingError
        A tracker cannot be opened, or training cannot continue.
    LeakError
        The audit finds a leak between fitted and scored trials, and `allow_leak` is None.
    DiskError
        `out` is not writable.
    """
    trackers = check_trackers(log, function="adapt")
    require_kind(run, KIND, function="adapt", instead="Use the function of that system.")
    run = Path(run)
    base = read_manifest(run, function="adapt")
    plan, same = plan_after(base, store, subject, runs, score_runs=score_runs)
    check_like(store, preparation_of(run, store))
    check_alone("adapt")
    check_environment(out, function="adapt")
    saved = load_brainllm(run / "model", device=device)
    if not saved.model.speaks or saved.pca is None:
        raise ConfigError(
            "adapt: the model must have a decoder and components, got one with steering alone. "
            "Train on the new person's runs too (train brainllm)."
        )
    split = split_of_plan(store, plan, base=same)
    fits = [FitScope(f"decoder for {plan.subject}", plan.train)]
    if same:  # trials of another store are unknown to this one
        fits += [saved.pca.scope, statistics_scope(store)]
    card = saved.card
    audit = audit_plan(store, split, fits, allow_leak=allow_leak, prompt_length=card.prompt_length)
    training = BrainLLMTraining(
        tune=config,
        max_prompt_tokens=card.max_prompt_tokens,
        max_text_tokens=card.max_text_tokens,
        end=card.end,
    )

    def part(ids: tuple[str, ...]) -> BrainTexts:
        trials = [store.by_id[i] for i in ids]
        texts = tuple(t.text for t in trials)
        return BrainTexts(ids, saved.windows(store, ids), texts, card.texts_before(trials))

    out = new_output(out)
    folder = out / "stages" / "adapt"
    model = saved.model
    with run_log(
        out, [folder], trackers, config=config.to_dict(), on_epoch=on_epoch, function="adapt"
    ) as each_epoch:
        objective = PromptTuning(model, training)
        model.requires_grad_(True)
        model.llm.requires_grad_(False)
        if model.steer is not None:
            model.steer.requires_grad_(False)
        loader = BrainTextLoader(part(plan.train), batch_size=config.batch_size, seed=config.seed)
        held = validation_of(objective, part(plan.val), config.batch_size) if plan.val else None
        history = fit(objective, loader, config, run_dir=folder, validate=held, on_epoch=each_epoch)
    language = carry_llm(card.language, card.llm, run.resolve(), out)
    facts = {**asdict(plan), "base": sha256(run / "model" / "model.safetensors")}
    facts["epoch"] = history.best_epoch
    parts: dict[str, list[str]] = {
        "train": [*card.split["train"], *plan.train],
        "val": list(plan.val),
    }
    card = replace(
        card,
        store=store.fingerprint(),
        split={**parts, "test": list(plan.scored)},
        preprocessing={**card.preprocessing, "adapted": facts},
        language=language,
    )
    save_brainllm(model, out / "model", card, pca=saved.pca, region=saved.region)
    save_preparation(preparation_of(run, store), out)
    manifest: dict[str, Any] = {
        "kind": KIND,
        **place_of(store, out),
        "llm": card.llm,
        "language_model": asdict(language),
        "split": split.to_json(),
        "audit": audit.to_json(),
        "adaptation": "few-shot",
        "adapt_trials": [],
        "adapted": facts,
        "scored_trials": list(plan.scored),
        **{key: base[key] for key in ("explained", "constant_voxels") if key in base},
    }
    write_json(out / "manifest.json", manifest)
    model.eval()
    return replace(saved, card=card)
