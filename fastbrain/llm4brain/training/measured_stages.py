"""Measure a step of each stage of a run before it is started; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..._arguments import checked
from ...data import VoxelStore, WindowLoader
from ...lm.device_map import how_loaded
from ...lm.loading import load_llm
from ...lm.lora import TunedLLM
from ...lm.word_lm import empty_small_llm, word_tokenizer
from ...training.config import StageConfig
from ...training.measure import measure_step
from ...training.step import Objective
from ..grid_encoders import GridLayout
from ..model import LLM4Brain
from .latent_targets import VideoLatents
from .objectives import MaskedVoxels, StageOne, StageTwo
from .run_config import RunConfig
from .run_stages import sizes_for, texts_of
from .stage_config import LLM4BrainStage

_CONTEXT = 256  # tokens of a sequence


@checked
def measured_stages(
    store: VoxelStore, config: RunConfig, *, device: str = "cpu"
) -> Iterator[tuple[str, str]]:
    """Measure SC-MBM, stage I and stage II on one batch of the store each.

    The model has random weights, also the small language model that a run would train. Domain
    adaptation and the stages on clips are not measured.

    Parameters
    ----------
    store : VoxelStore
    config : RunConfig
    device : str

    Yields
    ------
    stage, line : str
    """
    model = _model(store, config, device)
    train = store.split.train
    for name in ("pretrain", "stage1", "stage2"):
        stage: LLM4BrainStage | None = getattr(config, name)
        if stage is None:
            continue
        model.set_trainable(stage.groups)
        loader = WindowLoader(store, train, batch_size=stage.batch_size, shuffle=True)
        batch = next(iter(loader))
        objective = _objective(name, model, config, stage, batch.trial_ids)
        measured = measure_step(objective.to(device), batch, stage)
        yield name, measured.describe(_steps(stage, len(loader)))


def _steps(stage: StageConfig, batches: int) -> int:
    return stage.epochs * -(-batches // stage.accumulate)


def _objective(
    name: str,
    model: LLM4Brain,
    config: RunConfig,
    stage: LLM4BrainStage,
    trials: tuple[str, ...],
) -> Objective:
    if name == "pretrain":
        return MaskedVoxels(model, stage)
    if name == "stage2":
        labels = dict.fromkeys(trials, 0)
        return StageTwo(model, stage, prompts=config.prompts, labels=labels)
    sizes = model.config.qformer
    latents = torch.randn(len(trials), sizes.n_queries, sizes.dim)
    return StageOne(model, stage, VideoLatents({t: i for i, t in enumerate(trials)}, latents))


def _model(store: VoxelStore, config: RunConfig, place: str) -> LLM4Brain:
    if config.llm is None:
        texts = [f"{p} {t}" for p in config.prompts for t in texts_of(store, "train").values()]
        tokenizer = word_tokenizer(texts)
        sizes = empty_small_llm(len(tokenizer), context=_CONTEXT)
        llm = type(sizes)(sizes.config).to(place)
    else:
        llm, tokenizer = load_llm(config.llm, device=place, **how_loaded(config))
    tuned = TunedLLM(llm, config.llm_rank) if config.llm_rank else None
    return LLM4Brain(
        sizes_for(store, config),
        llm=llm,
        text_tokenizer=tokenizer,
        scale=store.scale,
        tuned=tuned,
        **vars(GridLayout.of(store)),
    ).to(place)
