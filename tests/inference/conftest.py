"""A tiny trained run of each system, with the images of its cohort."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from figures_once import figures_once  # noqa: F401
from small_run import finished_run, language, language_folder, store  # noqa: F401

from fastbrain.brainllm.training import BrainLLMRunConfig, train_brainllm_run
from fastbrain.data import (
    CohortDesign,
    RunRecord,
    VoxelStore,
    WindowSpec,
    prepare_store,
    read_runs_table,
    simulate_cohort,
    split_by,
)
from fastbrain.llm4brain import EncoderConfig, LLM4BrainConfig, QFormerConfig
from fastbrain.llm4brain.training import RunConfig, preset, train_llm4brain
from fastbrain.lm import small_llm
from fastbrain.training import OptimConfig

pytest.importorskip("nilearn")
STEPS = 80  # of the language model: enough that brains change what it says


@dataclass(frozen=True)
class Trained:
    """Folders of a cohort, its store and its runs."""

    root: Path
    runs: tuple[RunRecord, ...]
    store: VoxelStore

    def run(self, system: str) -> Path:
        return self.root / system

    def scans(self, *names: str) -> tuple[list[Path], list[Path]]:
        """Images and events of the named runs."""
        chosen = [run for run in self.runs if run.run in names]
        return [run.bold for run in chosen], [run.events for run in chosen]


@pytest.fixture(scope="session")
def trained(shared_by_workers) -> Trained:
    root = shared_by_workers("trained", _train)
    runs = read_runs_table(root / "cohort" / "runs.tsv")
    return Trained(root, runs, VoxelStore.open(root / "store"))


def _train(root: Path) -> Path:
    design = CohortDesign(subjects=1, runs=5, trials=8, resolution_mm=8, snr=2.0)
    runs = read_runs_table(simulate_cohort(root / "cohort", design))
    made = prepare_store(
        runs,
        root / "store",
        window=WindowSpec(4.0, 2),
        kernel=(4, 4, 4),
        split=lambda trials: split_by(
            trials, "run", train=["01", "02"], val=["03"], test=["04", "05"], closed_set=True
        ),
    )
    # one language model for both systems, with and without the prompt
    texts = sorted({trial.text for trial in made.trials})
    corpus = [*texts, *(f"{RunConfig().prompts[0]} {text}" for text in texts)]
    llm = str(small_llm(corpus, cache_dir=root / "cache", dim=64, steps=STEPS))
    fast = {"epochs": 1, "batch_size": 8, "optim": OptimConfig(lr=1e-3)}
    config = RunConfig(
        llm=llm,
        stimulus="text",
        model=LLM4BrainConfig(
            encoder=EncoderConfig(dim=24, depth=1),
            qformer=QFormerConfig(dim=24, depth=1, n_queries=4),
        ),
        pretrain=None,
        video=None,
        stage1=None,
        stage2=replace(preset("stage2"), **fast),
    )
    reason = "texts recur in a cohort this small"
    train_llm4brain(made, root / "llm4brain", config, allow_leak=reason)
    # after one epoch it writes the same text for every window
    stages = {"warmup": {"name": "warmup", "epochs": 1, "batch_size": 8}}
    stages["tune"] = {"name": "tune", "epochs": 25, "batch_size": 8, "optim": {"lr": 1e-2}}
    lengths = {"max_prompt_tokens": 16, "max_text_tokens": 32}
    brain = {"llm": llm, "features": 8, "training": {**stages, **lengths}}
    train_brainllm_run(
        made, root / "brainllm", BrainLLMRunConfig.from_dict(brain), allow_leak=reason
    )
    return root
