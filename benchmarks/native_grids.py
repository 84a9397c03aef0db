"""LLM4Brain on native grids: one model for three people against a model for each person.

::

    python benchmarks/native_grids.py WORK --seeds 0 1 2

Simulates a cohort as an fMRIPrep derivative in which the second person has a padded grid and the
third one voxels 1.25 times as large, prepares a collection with the grid of each, and trains on
four runs, with the fifth for validation. Prints, for the sixth run of every person, pairwise
accuracy against deranged brains of the same person, and a ridge regression on the same windows.
All models of a seed have the same language model.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastbrain.data import (
    CohortDesign,
    StoreCollection,
    WindowSpec,
    plan_native_grids,
    runs_from_bids,
    simulate_cohort,
    split_by,
    write_collection,
    write_fmriprep_derivative,
)
from fastbrain.evaluation.controls.conditions import DERANGED
from fastbrain.llm4brain import (
    EncoderConfig,
    LLM4BrainConfig,
    QFormerConfig,
    evaluate_grids,
    evaluate_run,
)
from fastbrain.llm4brain.training import RunConfig, preset, train_llm4brain
from fastbrain.lm import small_llm
from fastbrain.training import OptimConfig


def main() -> None:
    """Measure and print one row of JSON for each seed, person and kind of training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--snr", type=float, default=0.5)
    given = parser.parse_args()
    for seed in given.seeds:
        for row in _measure(given.work / f"seed-{seed}", seed, given.snr):
            print(json.dumps({"seed": seed, "snr": given.snr, **row}), flush=True)


def _collection(root: Path, seed: int, snr: float) -> StoreCollection:
    design = CohortDesign(subjects=3, runs=6, trials=40, resolution_mm=6, snr=snr, seed=seed)
    simulate_cohort(root / "cohort", design)
    derivative = write_fmriprep_derivative(root / "cohort", seed=seed)
    runs = runs_from_bids(root / "cohort", derivatives=(derivative.name,))
    plan = plan_native_grids(
        runs,
        window=WindowSpec(4.0, 4),
        kernel=(4, 4, 4),
        split=lambda trials: split_by(
            trials, "run", train=["01", "02", "03", "04"], val=["05"], test=["06"], closed_set=True
        ),
    )
    return write_collection(plan, root / "people")


def _recipe(llm: Path, seed: int) -> RunConfig:
    quick = OptimConfig(lr=3e-4)
    recipe = RunConfig(
        llm=str(llm),
        stimulus="text",
        video=None,
        model=LLM4BrainConfig(
            encoder=EncoderConfig(dim=96, depth=2),
            qformer=QFormerConfig(dim=96, depth=2, mlp_ratio=2.0),
        ),
        pretrain=replace(preset("pretrain"), epochs=2),
        stage1=replace(preset("stage1"), epochs=2, optim=quick),
        stage2=replace(preset("stage2"), epochs=4, optim=quick),
    )
    return recipe.with_seed(seed)


def _measure(root: Path, seed: int, snr: float) -> list[dict[str, Any]]:
    people = _collection(root, seed, snr)
    texts = sorted({people.by_id[t].text for t in people.split.train})
    question = RunConfig().prompts[0]
    llm = small_llm([f"{question} {text}" for text in texts], seed=seed)
    recipe = _recipe(llm, seed)
    reason = "sentences of the grammar recur in the runs"
    train_llm4brain(people, root / "joint", recipe, allow_leak=reason)
    pooled = evaluate_grids(root / "joint", bert=False, seed=seed)
    rows = [_row("joint", "all", pooled.scores)]
    for name, store in people.stores.items():
        facts = json.loads((root / "joint" / "grids" / name / "metrics.json").read_text())
        rows.append({"training": "joint", "person": name, **_values(facts["scores"])})
        train_llm4brain(store, root / name, recipe, allow_leak=reason)
        found = evaluate_run(root / name, bert=False, seed=seed, within_runs=True)
        rows.append(_row("alone", name, found.scores))
    return rows


def _row(training: str, person: str, scores: Any) -> dict[str, Any]:
    return {
        "training": training,
        "person": person,
        **_values([score.to_json() for score in scores]),
    }


def _values(scores: list[dict[str, Any]]) -> dict[str, Any]:
    wanted = ("pairwise", "linear_pairwise", "exact_match")
    found = {
        s["metric"]: s
        for s in scores
        if s["metric"] in wanted and not s.get("group") and s["control"] == DERANGED
    }
    return {
        name: {key: found[name].get(key) for key in ("value", "chance", "p", "n")}
        for name in wanted
        if name in found
    }


if __name__ == "__main__":
    main()
