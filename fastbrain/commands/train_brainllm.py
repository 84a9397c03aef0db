"""Train BrainLLM on a store: principal components of volumes as words of a frozen language model.

fastbrain train brainllm store runs/brain --llm meta-llama/Llama-2-7b-hf --features 1000
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._io import read_json
from .._progress import say
from ..brainllm.training.pipeline import BrainRunConfig, audit_brainllm, train_brainllm_run
from ..brainllm.training.presets import brainllm_preset
from ..data import VoxelStore


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain train brainllm``."""

    store: Annotated[Path, tyro.conf.Positional]
    """Voxel store from `fastbrain prepare`."""
    out: Annotated[Path, tyro.conf.Positional]
    """New run folder."""
    config: Path | None = None
    """JSON file with any part of the run configuration; see --print-config."""
    preset: Literal["paper", "published-code", "fastbrain"] | None = None
    """Settings of the training stages; default: as configured (fastbrain)."""
    features: int | None = None
    """Number of principal components of a volume; default: as configured (100)."""
    llm: str | None = None
    """Hub name or folder of a causal language model; default: a small one, trained on the texts."""
    allow_leak: str | None = None
    """Reason why a leak found by the audit is acceptable; stored in the manifest of the run."""
    device: str = "cpu"
    """Device for training, e.g. cuda."""
    verify: bool = False
    """Compare every byte of the store with its digests first."""
    resume: bool = False
    """Resume an interrupted run."""
    print_config: bool = False
    """Print the whole configuration as JSON and stop."""
    dry_run: bool = False
    """Check store and configuration, print what would be trained, and stop."""


def run(config: Config) -> None:
    """Assemble the configuration, then train."""
    given = read_json(config.config) if config.config else {}
    whole = BrainRunConfig.from_dict(given)
    if config.preset is not None:
        whole = replace(whole, training=brainllm_preset(config.preset))
    chosen = {
        name: getattr(config, name)
        for name in ("features", "llm")
        if getattr(config, name) is not None
    }
    whole = replace(whole, **chosen)
    if config.print_config:
        print(json.dumps(whole.to_dict(), indent=2))
        return
    store = VoxelStore.open(config.store, verify=config.verify)
    split = store.split
    print(f"store        {store.fingerprint()}, {store.window_spec.window_trs} volumes a window")
    print(f"trials       {len(split.train)} train, {len(split.val)} validation")
    print(f"scored later {len(split.test)}")
    if config.dry_run:
        audit = audit_brainllm(store, whole).check(allow=config.allow_leak)
        print(f"audit        {audit.summary()}")
        say("dry run: nothing was trained")
        return
    train_brainllm_run(
        store,
        config.out,
        whole,
        resume=config.resume,
        device=config.device,
        allow_leak=config.allow_leak,
    )
    say(f"model written to {config.out / 'model'}; next: fastbrain evaluate {config.out}")
