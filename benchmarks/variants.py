"""LLM4Brain with one part changed at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fastbrain.llm4brain import (
    AdapterConfig,
    EncoderConfig,
    LLM4BrainConfig,
    QFormerConfig,
    VideoConfig,
)
from fastbrain.llm4brain.training import LLM4BrainStage, LossConfig, preset
from fastbrain.training import OptimConfig

SNR = 0.25
SIZES = LLM4BrainConfig(
    encoder=EncoderConfig(dim=64, depth=1),
    qformer=QFormerConfig(dim=96, depth=2, mlp_ratio=2.0, n_queries=16),
    video=VideoConfig(frames=4, size=32, dim=96),
)
OPTIM = OptimConfig(lr=3e-4)
STAGE1 = replace(preset("stage1"), epochs=4, optim=OPTIM)
STAGE2 = replace(preset("stage2"), epochs=4, optim=OPTIM)


@dataclass(frozen=True)
class Variant:
    """One change to the full recipe."""

    title: str
    sizes: LLM4BrainConfig = SIZES
    stage1: LLM4BrainStage | None = STAGE1
    stage2: LLM4BrainStage = STAGE2
    snr: float = SNR


def without(stage: LLM4BrainStage, *groups: str) -> LLM4BrainStage:
    """The stage without some groups."""
    return replace(stage, groups=tuple(g for g in stage.groups if g not in groups))


def losses(**changed: Any) -> LLM4BrainStage:
    """Stage II with other weights or temperatures."""
    return replace(STAGE2, losses=LossConfig(**changed))


def without_readout(variant: Variant, title: str) -> Variant:
    """The variant of a model that has no linear readout, so that attention has to find it all."""
    return replace(
        variant,
        title=title,
        sizes=replace(variant.sizes, readout_rank=0),
        stage1=variant.stage1 and without(variant.stage1, "readout"),
        stage2=without(variant.stage2, "readout"),
    )


ADAPTERS = ("encoder_adapters", "qformer_adapters")
PARTS = {
    "no_da": Variant("no domain adaptation (λ = 1)", stage2=losses(lambda_ce=1.0)),
    "full_da": Variant(
        "domain adaptation at full weight (λ = 0.5, η = 1)", stage2=losses(lambda_ce=0.5, eta=1.0)
    ),
    "tau_0.5": Variant("τ = 0.5 in place of 0.05", stage2=losses(tau_nc=0.5, tau_cls=0.5)),
    "no_adapters": Variant(
        "no adapters",
        sizes=replace(SIZES, adapter=AdapterConfig(rank=0)),
        stage1=without(STAGE1, *ADAPTERS),
        stage2=without(STAGE2, *ADAPTERS),
    ),
    "linear_adapters": Variant(
        "linear adapters", sizes=replace(SIZES, adapter=AdapterConfig(activation=None))
    ),
    "no_stage1": Variant("no stage I", stage1=None),
}
FULL = Variant("full recipe")
VARIANTS = {
    "full": FULL,
    **PARTS,
    "bare": without_readout(FULL, "no linear readout"),
    **{f"bare-{name}": without_readout(v, v.title) for name, v in PARTS.items()},
    "bare-no_bridge": without_readout(
        replace(FULL, sizes=replace(SIZES, bridge_tokens=0)), "no linear map across patches"
    ),
    "no_signal": replace(FULL, title="full recipe, cohort without signal", snr=0.0),
}
