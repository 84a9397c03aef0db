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
from fastbrain.training import OptimConfig

pytest.importorskip("nilearn")


@dataclass(frozen=True)
class Trained:
    """Folders of a cohort, its store and its runs."""

    root: Path
    runs: tuple[RunRecord, ...]
    store: VoxelStore

    def run(self, system: str) -> Path:
        return self.root / system


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTBRAIN_CACHE", str(root / "cache"))
        design = CohortDesign(subjects=1, runs=5, trials=8, resolution_mm=8, snr=2.0)
        runs = read_runs_table(simulate_cohort(root / "cohort", design))
        store = prepare_store(
            runs,
            root / "store",
            window=WindowSpec(4.0, 2),
            kernel=(4, 4, 4),
            split=lambda trials: split_by(
                trials, "run", train=["01", "02"], val=["03"], test=["04", "05"], closed_set=True
            ),
        )
        fast = {"epochs": 1, "batch_size": 8, "optim": OptimConfig(lr=1e-3)}
        config = RunConfig(
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
        train_llm4brain(store, root / "llm4brain", config, allow_leak=reason)
        stages = {name: {"name": name, "epochs": 1, "batch_size": 8} for name in ("warmup", "tune")}
        lengths = {"max_prompt_tokens": 16, "max_text_tokens": 32}
        brain = BrainLLMRunConfig.from_dict({"features": 8, "training": {**stages, **lengths}})
        train_brainllm_run(store, root / "brainllm", brain, allow_leak=reason)
    return Trained(root, runs, store)
