"""Train BrainLLM on a store: principal components of volumes as words of a frozen language model.

fastbrain train brainllm store runs/brain --llm meta-llama/Llama-2-7b-hf --features 1000
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from .._io import read_json
from ..data import open_store
from ._training import (
    TrainOptions,
    describe_trials,
    fused_lora,
    given,
    print_configuration,
    report_dry_run,
    say_done,
    spread,
)


@dataclass(frozen=True)
class Config(TrainOptions):
    """Options of ``fastbrain train brainllm``."""

    preset: Literal["paper", "published-code", "fastbrain"] | None = None
    """Settings of the training stages, and with paper 1000 components; default: as configured
    (fastbrain)."""
    features: int | None = None
    """Number of principal components of a volume; default: as configured (100)."""
    prompt_length: int | None = None
    """Words of each trial's prompt that precede its text, the last ones; 0: none; default: as
    configured (all)."""
    decoder: Literal["mlp", "linear", "rnn", "big_mlp", "multi_mlp", "none"] | None = None
    """Network from components to the language model; default: as configured (mlp)."""
    depth: int | None = None
    """Hidden layers of the mlp; default: as configured (2, as in the paper)."""
    width: int | None = None
    """Units of each hidden layer of the mlp; default: as configured (the number of components)."""
    layout: Literal["document", "chat", "bos", "none"] | None = None
    """What surrounds a prompt; fastbrain doctor --llm compares them; default: as configured
    (document)."""


def run(config: Config) -> None:
    """Assemble the configuration, then train."""
    from ..brainllm.training import brainllm_preset
    from ..brainllm.training.pipeline import train_brainllm_run
    from ..brainllm.training.presets import PAPER_FEATURES
    from ..brainllm.training.run_config import (
        BrainLLMRunConfig,
        audit_brainllm,
        described,
        plan_brainllm,
        refuse_several_grids,
        share_of_store,
    )
    from ..training.trackers import check_trackers

    whole = BrainLLMRunConfig.from_dict(read_json(config.config) if config.config else {})
    if config.preset is not None:
        whole = replace(whole, training=brainllm_preset(config.preset))
    if config.preset == "paper":
        whole = replace(whole, features=PAPER_FEATURES)
    names = (
        "features",
        "llm",
        "llm_rank",
        "llm_bits",
        "prompt_length",
        "decoder",
        "depth",
        "width",
        "layout",
    )
    whole = spread(replace(whole, **given(config, *names)), config)
    if config.print_config:
        print_configuration(whole)
        return
    check_trackers(config.log, function="train")
    store = open_store(config.store, verify=config.verify)
    refuse_several_grids(store)
    describe_trials(store, f"{store.window_spec.window_trs} volumes a window")
    print(f"scored later {len(store.split.test)}")
    if config.dry_run:
        store = share_of_store(store, whole)
        audit = audit_brainllm(store, whole).check(allow=config.allow_leak)
        plan = plan_brainllm(store, whole)
        print(f"prompt       {plan.sentence(whole.prompt_length)}")
        print(f"model        {described(store, whole)}")
        report_dry_run(audit)
        return
    train_brainllm_run(store, config.out, whole, fused=fused_lora(whole.llm_rank), **config.how())
    say_done(config.out)
