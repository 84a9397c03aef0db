"""Train all stages of LLM4Brain on a voxel store and save the model.

The run folder contains everything needed to repeat and to evaluate the run::

    config.json     complete RunConfig
    manifest.json   store and its fingerprint, LLM, split, audit, trials that may be scored
    llm/ llm.json   language model, or its location (:func:`fastbrain.lm.kept_llm.keep_llm`)
    stages/NAME/    log and checkpoints of each stage
    model/          trained model (safetensors)
    preparation/    grid, filter and statistics of the store, to decode new scans
    grids/NAME/     instead of preparation/, for a collection of stores: a run of one grid
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..._arguments import checked
from ..._environment import check_environment
from ..._io import new_output
from ..._progress import say
from ...data import StoreCollection, VoxelStore
from ...data.leaks.pretraining_scans import scans_beside
from ...data.readers.tables import read_lines
from ...data.store.members import AnyStore, members_of
from ...errors import ConfigError, some
from ...lm.device_map import check_device_map, how_loaded
from ...lm.kept_llm import find_llm, keep_llm, kept_llm
from ...lm.loading import load_llm
from ...lm.lora import TunedLLM
from ...lm.quantised import quantisation
from ...lm.sources import find_model
from ...lm.word_lm import small_llm
from ...training.data_parallel import check_batch_sizes
from ...training.processes import processes, run_together
from ...training.run import Row
from ...training.run_folder import absolute_paths, claim, reason_of
from ...training.run_log import run_log
from ...training.trackers import check_trackers
from ..grid_encoders import GridLayout
from ..grid_models import AnyModel, GridModels
from ..model import LLM4Brain
from ..saving import save_pretrained
from ..token_merging import check_lattice
from ..vision_model import load_vision_model
from .adaptation_target import audit_run, people_of, split_target
from .own_encoder import with_own_encoder
from .presets import STAGE_NAMES
from .run_config import RunConfig
from .run_record import card_of_run, write_records
from .run_stages import STAGES, RunState, categories, sizes_for, texts_of
from .stage_config import findings
from .stimuli import fitted_to, load_weights, with_stimulus


@checked
@run_together
def train_llm4brain(
    store: VoxelStore | StoreCollection,
    out: str | Path,
    config: RunConfig | None = None,
    *,
    resume: bool = False,
    device: str = "cpu",
    allow_leak: str | None = None,
    log: Sequence[str] = (),
    on_epoch: Callable[[Row], None] | None = None,
    fused: Callable[[Any], object] | None = None,
) -> LLM4Brain | GridModels:
    """Train LLM4Brain on a store, stage by stage (arXiv 2409.17987, section 3.2).

    The split is audited before training. Estimators fitted during the run are audited when fitted.

    Parameters
    ----------
    store : VoxelStore or StoreCollection
        On a collection one model is trained for all grids; each grid has its own map across tokens
        in the bridge, and its own readout. Batches have one grid.
    out : str or Path
        New run folder.
    config : RunConfig, optional
    resume : bool
        Resume an interrupted run: finished stages are loaded, and the interrupted stage continues
        from its newest checkpoint.
    device : str
    allow_leak : str, optional
        Reason to accept a leak. It is recorded in the manifest, and a resumed run keeps it.
    log : sequence of {"tensorboard", "wandb", "trackio"}
        Trackers that receive the numbers of every epoch, besides ``stages/NAME/log.jsonl``.
    on_epoch : callable, optional
        Receives the row of every finished epoch of all stages; what it raises stops training.
    fused : callable, optional
        Accelerates a language model with LoRA in place:
        ``fastbrain.integrations.peft.accelerate_peft``.

    Returns
    -------
    LLM4Brain or GridModels
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
        A file named in the configuration does not exist, no test run would be left to score,
        clips are configured and a trial has none, a name in `log` is unknown, or a collection is
        given with a position table.
    MissingPartError
        The package of a tracker is not installed.
    TrainingError
        A tracker cannot be opened, or training cannot continue.
    InputError
        The language model cannot be found, has custom code, or has no safetensors.
    DiskError
        `out` is not writable.
    """
    trackers = check_trackers(log, function="train")
    config = absolute_paths(
        config or RunConfig(),
        files=("corpus", "encoder_weights", "qformer_weights"),
        models=("llm", "vision_model"),
    )
    check_environment(out, function="train")
    check_batch_sizes(*(getattr(config, name) for name in STAGE_NAMES))
    if config.llm_bits is not None:
        quantisation(config.llm_bits, device, function="train")  # raises if nothing can do it
    if config.llm_device_map is not None:
        check_device_map(config.llm_device_map, function="train", alone=processes().alone)
    chosen, config = config.stimulus, with_stimulus(store, config)
    if chosen is None:
        say(f"stimulus: {config.stimulus}")
    config = with_own_encoder(store, config)
    adapt, scored = split_target(store, config.adapt_runs)
    people_of(store, config)  # raises before anything is written
    check_grids(store, config, scored)
    allow_leak = allow_leak or (reason_of(out) if resume else None)
    audit = audit_run(store, config).check(allow=allow_leak)
    say(f"audit: {audit.summary()}")
    for note in notes_on(store, config):
        say(f"note: {note}")
    if config.llm is not None and not resume:
        find_model(config.llm, function="train")
    out, team = Path(out), processes()
    said = {"config": config.to_dict(), "store_fingerprint": store.fingerprint()}
    instructions = {t.trial_id: t.instruction for t in store.trials if t.instruction}
    # decoding uses the same prompts as training
    prompts = tuple(sorted(set(instructions.values()))) or config.prompts
    with team.first_alone() as first:
        if first:
            new_output(out, resume=resume)
            claim(out, said, allow_leak=allow_leak)
            if kept_llm(out) is None:
                keep_llm(config.llm or _small_llm(store, config, prompts), out)
    language = kept_llm(out)
    assert language is not None
    model = build_model(store, config, str(find_llm(language, out)), device=device)
    if fused is not None and model.first.tuned is not None:
        fused(model.first.tuned.peft)
    run = RunState(
        store=store,
        config=config,
        model=model,
        out=out,
        resume=resume,
        adapt=adapt,
        prompts=prompts,
        instructions=instructions,
        audit=audit,
        allow_leak=allow_leak,
    )
    weights = load_weights(model.first, config)
    logged = [out / "stages" / name for name in STAGE_NAMES]
    with run_log(out, logged, trackers, config=config.to_dict(), on_epoch=on_epoch) as each_epoch:
        run.on_epoch = each_epoch
        for stage in STAGES:
            stage(run)
    card = card_of_run(run, language, weights)
    facts = weights | run.facts
    facts |= {
        "llm": language.name,
        "language_model": asdict(language),
        "audit": run.audit.to_json(),
        "adaptation": card.training["adaptation"],
        "adapt_trials": list(adapt),
        "scored_trials": list(scored),
    }
    with team.first_alone() as first:
        if first:
            save_pretrained(model, out / "model", card, replace=resume)
            write_records(store, out, facts, replaced=resume)
    return model.eval()


def check_grids(store: AnyStore, config: RunConfig, scored: Sequence[str]) -> None:
    """Raise :class:`ConfigError` if a configuration does not suit all grids of a store."""
    encoder = config.model.encoder
    if encoder.tokenizer.kernels:
        for member in members_of(store).values():
            check_lattice(member.grid)
    if isinstance(store, StoreCollection) and encoder.positions != "brain":
        raise ConfigError(
            "train: model.encoder.positions must be 'brain' for several grids, got "
            f"{encoder.positions!r}: a table belongs to the tokens of one grid."
        )
    left = [name for name, each in members_of(store).items() if not set(scored) & set(each.by_id)]
    if left:
        raise ConfigError(
            f"train: adapt_runs must leave a run of every grid to score, got none of "
            f"{some(left)}. Give a share of the runs of each person: --adapt-runs 0.5."
        )


def notes_on(store: AnyStore, config: RunConfig) -> tuple[str, ...]:
    """List questionable settings of a run that do not prevent it, one sentence each."""
    notes: tuple[str, ...] = ()
    if config.encoder_weights is not None and scans_beside(config.encoder_weights) is None:
        notes = (
            f"{config.encoder_weights} has no record of the scans that it was trained on: the "
            "audit cannot know whether test scans are among them",
        )
    if config.stage2 is None or not config.adapt_runs:
        return notes
    return (*notes, *findings(config.stage2.losses, len(categories(store))))


@checked
def build_model(
    store: VoxelStore | StoreCollection, config: RunConfig, llm_path: str, *, device: str = "cpu"
) -> LLM4Brain | GridModels:
    """Build an untrained model for a store.

    Parameters
    ----------
    store : VoxelStore or StoreCollection
    config : RunConfig
    llm_path : str
        Hub name or folder of the language model.
    device : str
    """
    llm, tokenizer = load_llm(llm_path, device=device, **how_loaded(config))
    tuned = TunedLLM(llm, config.llm_rank, seed=config.seed) if config.llm_rank else None
    sizes = sizes_for(store, config)
    vision = load_vision_model(config.vision_model) if config.vision_model else None
    layouts = {name: GridLayout.of(each) for name, each in members_of(store).items()}
    shared: dict[str, Any] = {"llm": llm, "text_tokenizer": tokenizer, "video": vision}
    shared |= {"scale": store.scale, "tuned": tuned}
    torch.manual_seed(config.seed)
    model: AnyModel
    if isinstance(store, StoreCollection):
        model = GridModels(fitted_to(sizes, vision), layouts, **shared)
    else:
        model = LLM4Brain(fitted_to(sizes, vision), **vars(layouts[""]), **shared)
    return model.to(device)


def _small_llm(store: AnyStore, config: RunConfig, prompts: tuple[str, ...]) -> Path:
    if config.corpus is None:
        sentences = sorted(set(texts_of(store, "train").values()))
    else:
        sentences = [line for line in read_lines(config.corpus) if line.strip()]
    say(f"language model: a small one, from {len(sentences)} sentences")
    return small_llm(
        [f"{prompt} {sentence}" for prompt in prompts for sentence in sentences],
        seed=config.seed,
    )
