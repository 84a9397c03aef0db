"""Train all stages of LLM4Brain on a voxel store and save the model.

The run folder contains everything needed to repeat and to evaluate the run::

    config.json     complete RunConfig
    manifest.json   store and its fingerprint, LLM, split, audit, trials that may be scored
    llm/ llm.json   language model, or its location (:func:`fastbrain.lm.kept_llm.keep_llm`)
    stages/NAME/    log and checkpoints of each stage
    model/          trained model (safetensors)
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ..._arguments import checked
from ..._environment import check_environment
from ..._io import new_output, write_json
from ..._progress import say
from ...data import VoxelStore, WindowLoader
from ...data.readers.tables import read_lines
from ...lm.kept_llm import find_llm, keep_llm, kept_llm
from ...lm.loading import load_llm
from ...lm.sources import find_model
from ...lm.word_lm import small_llm
from ...training.config import StageConfig, findings
from ...training.run import History
from ...training.run_folder import absolute_paths, claim, place_of, reason_of
from ..model import LLM4Brain
from ..saving import ModelCard, save_pretrained
from ..vision_model import load_vision_model
from .adaptation_target import audit_run, people_of, split_target
from .fit_readout import fit_readout
from .latent_targets import text_targets, video_targets
from .pretraining import pretrain_scmbm, pretrain_video
from .run_config import RunConfig
from .stages import calibrate, stage_one, stage_two
from .stimuli import clip_frames, fitted_to, load_weights


@checked
def train_llm4brain(
    store: VoxelStore,
    out: str | Path,
    config: RunConfig | None = None,
    *,
    resume: bool = False,
    device: str = "cpu",
    allow_leak: str | None = None,
) -> LLM4Brain:
    """Train LLM4Brain on a store, stage by stage (arXiv 2409.17987, section 3.2).

    The split is audited before training. Estimators fitted during the run are audited when fitted.

    Parameters
    ----------
    store : VoxelStore
    out : str or Path
        New run folder.
    config : RunConfig, optional
    resume : bool
        Resume an interrupted run: finished stages are loaded, and the interrupted stage continues
        from its newest checkpoint.
    device : str
    allow_leak : str, optional
        Reason to accept a leak. It is recorded in the manifest, and a resumed run keeps it.

    Returns
    -------
    LLM4Brain
        In evaluation mode; saved in ``out/model``.

    Raises
    ------
    LeakError
        The audit finds a leak between parts of the split, or an estimator fitted outside the
        training part, and `allow_leak` is None. If the split leaks, nothing is written.
    OutputExistsError
        `out` is not empty and `resume` is false.
    CheckpointError
        A resumed run has another configuration or store, or its checkpoints or language model are
        damaged.
    ConfigError
        A file named in the configuration does not exist, or no test run would be left to score.
    InputError
        The language model cannot be found, has custom code, or has no safetensors.
    DiskError
        `out` is not writable.
    """
    config = absolute_paths(
        config or RunConfig(),
        files=("corpus", "encoder_weights", "qformer_weights"),
        models=("llm", "vision_model"),
    )
    check_environment(out, function="train")
    adapt, scored = split_target(store, config.adapt_runs)
    people_of(store, config)  # raises before anything is written
    allow_leak = allow_leak or (reason_of(out) if resume else None)
    audit = audit_run(store, config).check(allow=allow_leak)
    say(f"audit: {audit.summary()}")
    for note in notes_on(store, config):
        say(f"note: {note}")
    if config.llm is not None and not resume:
        find_model(config.llm, function="train")
    out = new_output(out, resume=resume)
    said = {"config": config.to_dict(), "store_fingerprint": store.fingerprint()}
    claim(out, said, allow_leak=allow_leak)
    instructions = {t.trial_id: t.instruction for t in store.trials if t.instruction}
    # decoding uses the same prompts as training
    prompts = tuple(sorted(set(instructions.values()))) or config.prompts
    language = kept_llm(out) or keep_llm(config.llm or _small_llm(store, config, prompts), out)
    model = build_model(store, config, str(find_llm(language, out)), device=device)
    val_loader = _loader(store, store.split.val, config.stage1, shuffle=False)
    weights = load_weights(model, config)
    facts: dict[str, Any] = dict(weights)

    def options(name: str) -> dict[str, Any]:
        folder = out / "stages" / name
        record = {"store": store.fingerprint()}
        return {"run_dir": folder, "resume": resume and folder.exists(), "record": record}

    if config.pretrain is not None:
        loader = _loader(store, store.split.train, config.pretrain)
        pretrain_scmbm(model, loader, config.pretrain, val_loader=val_loader, **options("pretrain"))
    texts = _texts(store, "train")
    if config.stimulus == "clips":
        shown = (*store.split.train, *store.split.val)
        frames = clip_frames(store, model, shown)
        if config.video is not None:
            pretrain_video(
                model, texts, frames, config.video, prompts=prompts, instructions=instructions,
                val_texts=_texts(store, "val"), **options("video"),
            )  # fmt: skip
        targets = video_targets(model, shown, frames)
    else:
        targets = text_targets(model, texts | _texts(store, "val"), fit=store.split.train)
        audit = audit.with_fits(targets.scopes).check(allow=allow_leak)
    if model.readout is not None:
        ordered = _loader(store, store.split.train, None, shuffle=False)
        start = fit_readout(model, ordered, targets)
        facts["readout"] = {k: getattr(start, k) for k in ("alpha", "r2", "rank", "windows")}
        audit = audit.with_fits([start.scope]).check(allow=allow_leak)
        say(f"readout: cross-validated R² {start.r2:.3f} at penalty {start.alpha:g}")
        if config.calibrate is not None:
            calibrate(
                model, start.latents, texts, config.calibrate, prompts=prompts,
                instructions=instructions, **options("calibrate"),
            )  # fmt: skip
    if config.stage1 is not None:
        loader = _loader(store, store.split.train, config.stage1)
        stage_one(model, loader, targets, config.stage1, val_loader=val_loader, **options("stage1"))
    if config.stage2 is not None:
        asked = {"prompts": prompts, "instructions": instructions}
        _second_stage(store, model, config, adapt, val_loader, asked | options("stage2"))
    stages = ("pretrain", "video", "calibrate", "stage1", "stage2")
    adaptation = "transductive" if adapt else "inductive"
    card = ModelCard(
        llm=language.name,
        tr=store.tr,
        fingerprint=store.fingerprint(),
        affine=tuple(tuple(float(v) for v in row) for row in store.affine),
        prompt=prompts[0],
        preprocessing={"units": store.units, "window": asdict(store.window_spec)},
        split=store.split.to_json(),
        training={
            "adaptation": adaptation,
            "stages": [name for name in stages if getattr(config, name) is not None],
            "audit": audit.to_json(),
            "weights": weights,
        },
        language=language,
    )
    save_pretrained(model, out / "model", card, replace=resume)
    facts |= place_of(store, out)
    facts |= {
        "llm": language.name,
        "language_model": asdict(language),
        "split": store.split.to_json(),
        "audit": audit.to_json(),
        "adaptation": adaptation,
        "adapt_trials": list(adapt),
        "scored_trials": list(scored),
        "fit_runs": list(store.fit_runs),
    }
    write_json(out / "manifest.json", facts)
    return model.eval()


def notes_on(store: VoxelStore, config: RunConfig) -> tuple[str, ...]:
    """List questionable settings of a run that do not prevent it, one sentence each."""
    if config.stage2 is None or not config.adapt_runs:
        return ()
    return findings(config.stage2.losses, len(_categories(store)))


@checked
def build_model(
    store: VoxelStore, config: RunConfig, llm_path: str, *, device: str = "cpu"
) -> LLM4Brain:
    """Build an untrained model for a store.

    Parameters
    ----------
    store : VoxelStore
    config : RunConfig
    llm_path : str
        Hub name or folder of the language model.
    device : str
    """
    llm, tokenizer = load_llm(llm_path, device=device)
    classes = len(_categories(store)) if config.stage2 is not None else 0
    sizes = replace(
        config.model,
        frames=store.window_spec.window_trs,
        n_classes=classes,
        people=people_of(store, config),
    )
    vision = load_vision_model(config.vision_model) if config.vision_model else None
    torch.manual_seed(config.seed)
    model = LLM4Brain(
        fitted_to(sizes, vision),
        grid=store.grid,
        centers_mm=store.grid.centers(store.affine),
        llm=llm,
        text_tokenizer=tokenizer,
        mean=store.mean,
        inv_std=store.inv_std,
        scale=store.scale,
        video=vision,
    )
    return model.to(device)


def _second_stage(
    store: VoxelStore,
    model: LLM4Brain,
    config: RunConfig,
    adapt: tuple[str, ...],
    val_loader: WindowLoader,
    options: dict[str, Any],
) -> History:
    assert config.stage2 is not None
    classes = {name: i for i, name in enumerate(_categories(store))}
    return stage_two(
        model,
        _loader(store, store.split.train, config.stage2),
        config.stage2,
        labels={t: classes[store.by_id[t].category] for t in store.split.train},
        target_loader=_loader(store, adapt, config.stage2) if adapt else None,
        val_loader=val_loader,
        **options,
    )


def _small_llm(store: VoxelStore, config: RunConfig, prompts: tuple[str, ...]) -> Path:
    if config.corpus is None:
        sentences = sorted(set(_texts(store, "train").values()))
    else:
        sentences = [line for line in read_lines(config.corpus) if line.strip()]
    say(f"language model: a small one, from {len(sentences)} sentences")
    return small_llm(
        [f"{prompt} {sentence}" for prompt in prompts for sentence in sentences],
        seed=config.seed,
    )


def _loader(
    store: VoxelStore,
    trials: tuple[str, ...],
    stage: StageConfig | None,
    *,
    shuffle: bool = True,
) -> WindowLoader:
    stage = stage or StageConfig()
    return WindowLoader(
        store, trials, batch_size=stage.batch_size, shuffle=shuffle, seed=stage.seed
    )


def _texts(store: VoxelStore, part: Any) -> dict[str, str]:
    return {t: store.by_id[t].text for t in store.split.part(part)}


def _categories(store: VoxelStore) -> list[str]:
    return sorted({store.by_id[t].category for t in store.split.train})
