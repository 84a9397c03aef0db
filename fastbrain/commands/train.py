"""Train LLM4Brain on a store.

fastbrain train store runs/first --llm meta-llama/Llama-3.2-1B

`fastbrain train llm4brain` is the same; `fastbrain train scmbm` pretrains the encoder alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._environment import check_environment
from .._io import read_json
from .._progress import say
from ..data import VoxelStore
from ..errors import ConfigError
from ..llm4brain.training import audit_run, split_target
from ..llm4brain.training.pipeline import notes_on, train_llm4brain
from ..llm4brain.training.run_config import RunConfig


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain train``."""

    store: Annotated[Path, tyro.conf.Positional]
    """Voxel store from `fastbrain prepare`."""
    out: Annotated[Path, tyro.conf.Positional]
    """New run folder."""
    config: Path | None = None
    """JSON file with any part of the run configuration; see --print-config."""
    preset: Literal["fastbrain", "paper", "published-code"] | None = None
    """Instead of --config: settings of fastbrain, of the paper or of its published code."""
    subjects: Literal["embedding", "affine"] | None = None
    """Parameters of the tokenizer for each person; default: as configured (none)."""
    llm: str | None = None
    """Hub name or folder of a causal language model; default: a small one, trained on the texts."""
    stimulus: Literal["clips", "text"] | None = None
    """Targets from clips or from texts; default: as configured (clips)."""
    adapt_runs: int | None = None
    """Unlabelled runs of the test part for domain adaptation; they are not scored."""
    allow_leak: str | None = None
    """Reason why a leak found by the audit is acceptable; included in every report."""
    device: str = "cpu"
    """Device for training, e.g. cuda."""
    cohort: Path | None = None
    """Folder of the cohort, for its clips; default: its path during preparation."""
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
    if config.config and config.preset:
        raise ConfigError("train: --config and --preset must not both be given. Use one of them.")
    if config.config:
        whole = RunConfig.from_dict(read_json(config.config))
    else:
        whole = RunConfig.preset(config.preset or "fastbrain")
    if config.subjects:
        whole = whole.with_subjects(config.subjects)
    given = {
        name: getattr(config, name)
        for name in ("llm", "stimulus", "adapt_runs")
        if getattr(config, name) is not None
    }
    whole = replace(whole, **given)
    if config.print_config:
        print(json.dumps(whole.to_dict(), indent=2))
        return
    if not config.dry_run:
        check_environment(config.out, cache=whole.llm is None, function="train")
    store = VoxelStore.open(config.store, verify=config.verify, cohort=config.cohort)
    adapt, scored = split_target(store, whole.adapt_runs)
    split = store.split
    print(f"store        {store.fingerprint()}, {store.grid.n_tokens} tokens")
    print(f"trials       {len(split.train)} train, {len(split.val)} validation")
    print(f"scored later {len(scored)}; unlabelled adaptation on {len(adapt)}")
    stages = ("pretrain", "video", "calibrate", "stage1", "stage2")
    print("stages       " + ", ".join(s for s in stages if getattr(whole, s) is not None))
    if config.dry_run:
        audit = audit_run(store, whole).check(allow=config.allow_leak)
        print(f"audit        {audit.summary()}")
        for note in notes_on(store, whole):
            say(f"note: {note}")
        say("dry run: nothing was trained")
        return
    train_llm4brain(
        store,
        config.out,
        whole,
        resume=config.resume,
        device=config.device,
        allow_leak=config.allow_leak,
    )
    say(f"model written to {config.out / 'model'}; next: fastbrain evaluate {config.out}")
