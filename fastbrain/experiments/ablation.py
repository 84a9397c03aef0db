"""LLM4Brain without one of its parts, or with another form of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .._arguments import checked
from ..errors import ConfigError
from ..llm4brain.training.run_config import RunConfig
from ..nn.config import PLACES
from .grid import Variant

PARTS = ("adapter", "rank", "place", "adaptation", "stage1", "tokenizer")
_RANKS = (2, 4, 16, 32)
_ADAPTERS = ("encoder_adapters", "qformer_adapters")


@checked
def ablation_variants(config: RunConfig, parts: Sequence[str] = PARTS) -> list[Variant]:
    """List the variants of a configuration with one part changed.

    Parameters
    ----------
    config : RunConfig
        The reference, first in the list.
    parts : sequence of {"adapter", "rank", "place", "adaptation", "stage1", "tokenizer"}
        ``"adapter"``: none, linear or nonlinear. ``"rank"``: 2, 4, 16, 32. ``"place"``: query
        projections, MLPs or cross-attention alone. ``"adaptation"``: without neighborhood
        clustering, without entropy separation, without both. ``"stage1"``: without the contrastive
        loss, without the alignment loss, and L1 or squared L2 alone in it. ``"tokenizer"``: cubes
        of 2 patches a side as one token.

    Returns
    -------
    list of Variant
        Variants that equal the reference are left out.

    Raises
    ------
    ConfigError
        A part is unknown, or is not in this configuration: adapters of rank 0, a skipped stage, or
        no runs for adaptation.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise ConfigError(f"study ablate: parts must be some of {PARTS}, got {list(parts)}.")
    makers = {
        "adapter": _adapters,
        "rank": _ranks,
        "place": _places,
        "adaptation": _adaptation,
        "stage1": _stage_one,
        "tokenizer": _tokenizers,
    }
    found = [Variant("reference", "as trained", config)]
    for part in dict.fromkeys(parts):
        found += [v for v in makers[part](config) if v.config != config]
    return found


def _adapters(config: RunConfig) -> list[Variant]:
    _need_adapters(config, "adapter")
    found = [
        Variant("adapter-none", "no adapters", _adapted(config, rank=0)),
        Variant("adapter-linear", "linear adapters", _adapted(config, activation=None)),
    ]
    if config.model.adapter.activation is None:
        bent = _adapted(config, activation="gelu")
        found.append(Variant("adapter-nonlinear", "nonlinear adapters", bent))
    return found


def _ranks(config: RunConfig) -> list[Variant]:
    _need_adapters(config, "rank")
    return [Variant(f"rank-{r}", f"adapters of rank {r}", _adapted(config, rank=r)) for r in _RANKS]


def _places(config: RunConfig) -> list[Variant]:
    _need_adapters(config, "place")
    titles = {"query": "query projections", "mlp": "MLPs", "cross": "cross-attention"}
    return [
        Variant(f"place-{p}", f"adapters in {titles[p]} alone", _adapted(config, places=(p,)))
        for p in PLACES
    ]


def _adaptation(config: RunConfig) -> list[Variant]:
    if config.stage2 is None or not config.adapt_runs:
        raise ConfigError(
            "study ablate: adaptation must be part of the run, got no stage II or adapt_runs=0. "
            "Train with --adapt-runs, or leave the part out of --parts."
        )
    return [
        Variant("no-nc", "no neighborhood clustering", _losses(config, "stage2", nc=0.0)),
        Variant("no-es", "no entropy separation", _losses(config, "stage2", es=0.0)),
        Variant("no-adaptation", "no adaptation losses", _losses(config, "stage2", nc=0.0, es=0.0)),
    ]


def _stage_one(config: RunConfig) -> list[Variant]:
    if config.stage1 is None:
        raise ConfigError(
            "study ablate: stage1 must be part of the run, got none. Leave it out of --parts."
        )
    return [
        Variant("no-stage1", "no stage I", replace(config, stage1=None)),
        Variant("no-clip", "no contrastive loss", _losses(config, "stage1", beta=0.0)),
        Variant("no-l2l1", "no alignment loss", _losses(config, "stage1", beta=1.0)),
        Variant("l2", "squared L2 alone in alignment", _losses(config, "stage1", alpha=0.0)),
        Variant("l1", "L1 alone in alignment", _losses(config, "stage1", alpha=1.0)),
    ]


def _tokenizers(config: RunConfig) -> list[Variant]:
    encoder = config.model.encoder
    if encoder.tokenizer.kernels:
        one = replace(encoder, tokenizer=replace(encoder.tokenizer, kernels=(), strides=()))
        model = replace(config.model, encoder=one)
        return [Variant("tokenizer-1", "one convolution", replace(config, model=model))]
    two = replace(encoder, tokenizer=replace(encoder.tokenizer, kernels=(2,)))
    model = replace(config.model, encoder=two)
    return [Variant("tokenizer-2", "tokens of 2×2×2 patches", replace(config, model=model))]


def _need_adapters(config: RunConfig, part: str) -> None:
    if not config.model.adapter.rank:
        raise ConfigError(
            f"study ablate: {part} must be part of the run, got adapters of rank 0. Leave it out "
            "of --parts."
        )


def _losses(config: RunConfig, stage: str, **changed: float) -> RunConfig:
    own = getattr(config, stage)
    return replace(config, **{stage: replace(own, losses=replace(own.losses, **changed))})


def _adapted(config: RunConfig, **changed: Any) -> RunConfig:
    """Change the adapters, and leave groups that have none then out of all stages."""
    adapter = replace(config.model.adapter, **changed)
    places = set(adapter.places) if adapter.rank else set()
    present = {
        "encoder_adapters": bool(places & {"query", "mlp"}),
        "qformer_adapters": bool(places),
    }
    gone = {group for group in _ADAPTERS if not present[group]}
    stages = {
        name: replace(stage, groups=tuple(g for g in stage.groups if g not in gone))
        for name in ("stage1", "stage2")
        if (stage := getattr(config, name)) is not None
    }
    return replace(config, model=replace(config.model, adapter=adapter), **stages)
