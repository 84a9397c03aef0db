"""Train LLM4Brain on a store.

fastbrain train store runs/first

`fastbrain train llm4brain` is the same; `fastbrain train scmbm` pretrains the encoder alone. On a
collection of stores (prepare --native-grids) one model is trained for all grids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .._environment import check_environment
from .._progress import say
from ..data import StoreCollection, open_store
from ..data.store.members import AnyStore, members_of, with_cohort
from ..errors import ConfigError
from ._encoders import EncoderOptions, own_encoder
from ._training import (
    TrainOptions,
    describe_trials,
    fused_lora,
    given,
    llm4brain_recipe,
    print_configuration,
    report_dry_run,
    report_size,
    say_done,
    spread,
)

if TYPE_CHECKING:
    from ..llm4brain.training import RunConfig


@dataclass(frozen=True)
class Config(EncoderOptions, TrainOptions):
    """Options of ``fastbrain train``."""

    preset: Literal["fastbrain", "paper", "paper-small", "published-code"] | None = None
    """Instead of --config: settings of fastbrain, of the paper (with --llm), of the paper in a size
    for a laptop, or of its published code."""
    subjects: Literal["embedding", "affine"] | None = None
    """Parameters of the tokenizer for each person; default: as configured (none)."""
    stimulus: Literal["clips", "text"] | None = None
    """Targets from clips or from texts; default: clips if the store has them, otherwise texts."""
    adapt_runs: float | None = None
    """Unlabelled runs of the test part for domain adaptation, which are not scored: a number, or
    below 1 a share of every person's runs."""
    encoder_weights: Path | None = None
    """Pretrained SC-MBM encoder (safetensors), published or from `fastbrain train scmbm`."""
    measure: bool = False
    """With --dry-run: also time a step of SC-MBM and of stages I and II on one batch."""
    cohort: Path | None = None
    """Folder of the cohort, for its clips; default: its path during preparation."""


def run(config: Config) -> None:
    """Assemble the configuration, then train."""
    from ..llm4brain.training import audit_run, split_target, train_llm4brain
    from ..llm4brain.training.footprint import check_memory, footprint, measured_flops
    from ..llm4brain.training.measured_stages import measured_stages
    from ..llm4brain.training.own_encoder import with_own_encoder
    from ..llm4brain.training.pipeline import notes_on
    from ..llm4brain.training.presets import STAGE_NAMES
    from ..llm4brain.training.stimuli import with_stimulus
    from ..training.run_folder import absolute_paths
    from ..training.trackers import check_trackers

    whole = llm4brain_recipe(config, function="train")
    if config.subjects:
        whole = whole.with_subjects(config.subjects)
    whole = replace(whole, **given(config, "stimulus", "adapt_runs", "llm_bits"))
    if config.llm_rank is not None:
        whole = whole.tuning_llm(config.llm_rank)
    whole = spread(whole, config)
    if config.encoder_weights is not None:
        whole = replace(whole, encoder_weights=str(config.encoder_weights))
    whole = own_encoder(whole, config)
    if config.print_config:
        print_configuration(whole)
        return
    for note in _differences(config.preset, whole):
        say(f"note: {note}")
    check_trackers(config.log, function="train")
    if config.measure and not config.dry_run:
        raise ConfigError("train: --measure must be given with --dry-run, got it alone.")
    if not config.dry_run:
        check_environment(config.out, cache=whole.llm is None, function="train")
    store = open_store(config.store, verify=config.verify)
    store = store if config.cohort is None else with_cohort(store, config.cohort)
    whole, chosen = with_stimulus(store, whole), whole.stimulus is not None
    if config.dry_run:
        whole = with_own_encoder(store, whole)
    adapt, scored = split_target(store, whole.adapt_runs)
    describe_trials(store, _tokens(store))
    print(f"scored later {len(scored)}; unlabelled adaptation on {len(adapt)}")
    found = "clips" if whole.stimulus == "clips" else "no clips"
    print(f"stimulus     {whole.stimulus}" + ("" if chosen else f", as the store has {found}"))
    print("stages       " + ", ".join(s for s in STAGE_NAMES if getattr(whole, s) is not None))
    if config.dry_run:
        absolute_paths(whole, files=("corpus", "encoder_weights", "qformer_weights"))
        for note in notes_on(store, whole):
            say(f"note: {note}")
        if whole.model.custom_encoder is None:
            size = footprint(store, whole, device=config.device)
            report_size(size.lines(measured_flops(config.device)))
        else:
            print("size         unknown with a custom encoder; --measure times a step")
        if config.measure:
            if isinstance(store, StoreCollection):
                raise ConfigError(
                    "train: --measure must be given one store, got a collection. Name one of its "
                    "grids."
                )
            for stage, line in measured_stages(store, whole, device=config.device):
                print(f"{stage:<12} {line}")
        report_dry_run(audit_run(store, whole).check(allow=config.allow_leak))
        return
    if config.preset == "paper" and whole.model.custom_encoder is None:
        check_memory(footprint(store, whole, device=config.device), device=config.device)
    train_llm4brain(store, config.out, whole, fused=fused_lora(whole.llm_rank), **config.how())
    say_done(config.out)


def _tokens(store: AnyStore) -> str:
    """Number of tokens of each grid, in words."""
    sizes = {name: each.grid.n_tokens for name, each in members_of(store).items()}
    if isinstance(store, StoreCollection):
        return f"{len(sizes)} grids of {min(sizes.values())} to {max(sizes.values())} tokens"
    return f"{sizes['']} tokens"


def _differences(preset: str | None, whole: RunConfig) -> Iterator[str]:
    """Say what a preset of the paper has otherwise than the paper, and what closes the gap."""
    if preset not in ("paper", "paper-small"):
        return
    if preset == "paper-small":
        yield "paper-small has the paper's parts and losses, not its size; that is --preset paper"
    if whole.encoder_weights is None:
        yield (
            "the encoder is pretrained on the training windows alone, in the paper on HCP; "
            "pretrain one with fastbrain train scmbm and name it in --config (encoder_weights)"
        )
    if whole.vision_model is None:
        yield (
            "a small built-in frame encoder reads clips, in the paper that of Video-LLaMA; name "
            "one in --config (vision_model, qformer_weights)"
        )
