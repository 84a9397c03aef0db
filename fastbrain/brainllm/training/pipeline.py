"""Training run of BrainLLM on one voxel store, from voxels to a saved model.

The run folder contains what is needed to reproduce and to evaluate the run::

    config.json     complete BrainLLMRunConfig
    manifest.json   store and its fingerprint, LLM, split, audit, trials that may be scored
    llm/ llm.json   the language model, or its location (:func:`fastbrain.lm.kept_llm.keep_llm`)
    stages/NAME/    log and checkpoints of each stage
    model/          the trained model with its components (safetensors, loaded strictly)
    preparation/    grid, filter and statistics of the store, to decode new scans
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ..._arguments import checked
from ..._environment import check_environment
from ..._io import new_output, write_json
from ..._progress import say
from ...data import StoreCollection, VoxelStore, fit_pca
from ...data.readers.prompts import texts_before
from ...data.store.preparation import save_preparation
from ...lm.device_map import check_device_map, how_loaded
from ...lm.kept_llm import find_llm, keep_llm, kept_llm
from ...lm.loading import load_llm
from ...lm.lora import TunedLLM
from ...lm.quantised import quantisation
from ...lm.sources import find_model
from ...lm.word_lm import small_llm
from ...training.card_facts import card_facts
from ...training.data_parallel import check_batch_sizes
from ...training.processes import processes, run_together
from ...training.run import Row
from ...training.run_folder import absolute_paths, claim, place_of
from ...training.run_log import run_log
from ...training.trackers import check_trackers
from ..model import BrainLLM
from ..saving import KIND, BrainLLMCard, SavedBrainLLM, save_brainllm
from .dataset import BrainTexts
from .run_config import BrainLLMPlan, plan_brainllm, refuse_several_grids, share_of_store
from .run_config import BrainLLMRunConfig as BrainLLMRunConfig
from .run_config import audit_brainllm as audit_brainllm
from .stages import STAGE_NAMES, train_brainllm
from .steering import SteeringFit


@checked
@run_together
def train_brainllm_run(
    store: VoxelStore | StoreCollection,
    out: str | Path,
    config: BrainLLMRunConfig | None = None,
    *,
    resume: bool = False,
    device: str = "cpu",
    allow_leak: str | None = None,
    log: Sequence[str] = (),
    on_epoch: Callable[[Row], None] | None = None,
    fused: Callable[[Any], object] | None = None,
) -> SavedBrainLLM:
    """Train BrainLLM on a store: PCA, language model and brain decoder (arXiv 2311.09889).

    Parameters
    ----------
    store : VoxelStore
        On one grid; see :func:`.run_config.refuse_several_grids`.
    out : str or Path
        New run folder.
    config : BrainLLMRunConfig, optional
    resume : bool
        Continue from the newest checkpoints of an interrupted run.
    device : str
    allow_leak : str, optional
        Reason to accept a leak; it is recorded in the run's manifest.
    log : sequence of {"tensorboard", "wandb", "trackio"}
        Trackers that receive the numbers of every epoch, besides ``stages/NAME/log.jsonl``.
    on_epoch : callable, optional
        Receives the row of every finished epoch of all stages; what it raises stops training.
    fused : callable, optional
        Accelerates a language model with LoRA in place:
        ``fastbrain.integrations.peft.accelerate_peft``.

    Returns
    -------
    SavedBrainLLM
        Also saved in ``out/model``.

    Raises
    ------
    LeakError
        The audit finds a leak between parts of the split, and `allow_leak` is None.
    OutputExistsError
        `out` is not empty and `resume` is false.
    CheckpointError
        The configuration or store differs from that of the run to resume.
    InputError
        There are more components than the rank of the training volumes, or the language model
        cannot be found, contains custom code or has no safetensors.
    ConfigError
        `store` is a collection of stores, a name in `log` is unknown, or the store lacks what the
        configuration asks for; see :func:`.run_config.plan_brainllm`.
    MissingPartError
        The package of a tracker is not installed.
    TrainingError
        A tracker cannot be opened, or training cannot continue.
    DiskError
        `out` is not writable.
    """
    refuse_several_grids(store)
    trackers = check_trackers(log, function="train")
    config = absolute_paths(config or BrainLLMRunConfig(), files=("atlas",), models=("llm",))
    check_environment(out, function="train")
    check_batch_sizes(config.training.warmup, config.training.tune)
    if config.llm_bits is not None:
        quantisation(config.llm_bits, device, function="train")  # raises if nothing can do it
    if config.llm_device_map is not None:
        check_device_map(config.llm_device_map, function="train", alone=processes().alone)
    store = share_of_store(store, config)
    split = store.split
    audit = audit_brainllm(store, config).check(allow=allow_leak)
    plan = plan_brainllm(store, config)
    say(f"audit: {audit.summary()}")
    say(f"before each text: {plan.sentence(config.prompt_length)}")
    pca = fit_pca(plan.rows, config.features, fitted_on=split.train, standardise=config.standardise)
    if config.llm is not None and not resume:
        find_model(config.llm, function="train")
    out, team = Path(out), processes()
    say(f"features: {config.features} components, {pca.explained.sum():.0%} of the variance")
    with team.first_alone() as first:
        if first:
            new_output(out, resume=resume)
            claim(out, {"config": config.to_dict(), "store_fingerprint": store.fingerprint()})
            if kept_llm(out) is None:
                keep_llm(config.llm or _small_llm(store, config, plan), out)
    language = kept_llm(out)
    assert language is not None
    llm, tokenizer = load_llm(str(find_llm(language, out)), device=device, **how_loaded(config))
    tuned = TunedLLM(llm, config.llm_rank, seed=config.seed) if config.llm_rank else None
    torch.manual_seed(config.seed)
    sizes = config.model(store.window_spec.window_trs)
    model = BrainLLM(sizes, llm=llm, text_tokenizer=tokenizer, tuned=tuned).to(device)
    if fused is not None and tuned is not None:
        fused(tuned.peft)
    card = BrainLLMCard(
        llm=language.name,
        tr=store.tr,
        split={name: list(split.part(name)) for name in ("train", "val", "test")},
        store=store.fingerprint(),
        whiten=config.whiten,
        max_prompt_tokens=config.training.max_prompt_tokens,
        max_text_tokens=config.training.max_text_tokens,
        end=config.training.end,
        preprocessing={"units": store.units, "window": asdict(store.window_spec)},
        language=language,
        before=plan.before,
        prompt_length=config.prompt_length,
        llm_bits=config.llm_bits,
        llm_device_map=config.llm_device_map,
    )
    saved = SavedBrainLLM(model, card, pca, plan.region)

    def part(ids: tuple[str, ...]) -> BrainTexts:
        trials = [store.by_id[i] for i in ids]
        texts = tuple(t.text for t in trials)
        return BrainTexts(ids, saved.windows(store, ids), texts, card.texts_before(trials))

    stages = out / "stages"
    logged = [stages / name for name in STAGE_NAMES]
    with run_log(out, logged, trackers, config=config.to_dict(), on_epoch=on_epoch) as each_epoch:
        done = train_brainllm(
            model, part(split.train), part(split.val), config.training, run_dir=stages,
            resume=resume and stages.exists(), on_epoch=each_epoch,
        )  # fmt: skip
    fits = [pca.scope, *(fit.scope for fit in done.values() if isinstance(fit, SteeringFit))]
    audit = audit.with_fits(fits).check(allow=allow_leak)
    facts = {
        "kind": KIND,
        **place_of(store, out),
        "llm": language.name,
        "language_model": asdict(language),
        "llm_dtype": str(llm.dtype).removeprefix("torch."),
        "llm_layout": asdict(model.layout),
        "split": split.to_json(),
        "audit": audit.to_json(),
        "scored_trials": list(split.test),
        "explained": float(pca.explained.sum()),
        "constant_voxels": pca.constant,
    }
    with team.first_alone() as first:
        if first:
            trained = {"audit": audit.to_json(), **card_facts(store, language)}
            saved = replace(saved, card=replace(card, training=trained))
            save_brainllm(
                model, out / "model", saved.card, pca=pca, region=plan.region, replace=resume
            )
            save_preparation(store, out, replaced=resume)
            write_json(out / "manifest.json", facts)
    model.eval()
    return saved


def _small_llm(store: VoxelStore, config: BrainLLMRunConfig, plan: BrainLLMPlan) -> Path:
    trials = [store.by_id[t] for t in store.split.train]
    before = texts_before(trials, plan.before, config.prompt_length)
    corpus = sorted({f"{b} {t.text}".strip() for b, t in zip(before, trials, strict=True)})
    say(f"language model: a small one, from {len(corpus)} sentences")
    return small_llm(corpus, seed=config.seed)
