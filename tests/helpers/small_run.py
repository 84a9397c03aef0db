"""A small store and a small LLM4Brain with random weights: fixtures for what needs a decoder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from fastbrain._io import write_atomic, write_json
from fastbrain.data import (
    VoxelStore,
    WindowSpec,
    audit_store,
    prepare_store,
    read_runs_table,
    split_unseen,
)
from fastbrain.llm4brain import (
    EncoderConfig,
    LLM4Brain,
    LLM4BrainConfig,
    ModelCard,
    QFormerConfig,
    VideoConfig,
    save_pretrained,
)
from fastbrain.lm import load_llm, small_llm
from fastbrain.lm.digests import model_digest
from fastbrain.lm.kept_llm import keep_llm

SHAPE_ZYX, VOLUMES, TRIALS, FRAMES = (4, 6, 6), 40, 6, 4
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
WORDS = ("ball", "book", "chair", "cake", "tree", "lamp")
PROMPT = "what is there ?"


@pytest.fixture(scope="session")
def store(shared_by_workers) -> VoxelStore:
    """Two people, four runs each, six windows of four volumes a run; the second one is test."""
    return VoxelStore.open(shared_by_workers("small-store", _prepared))


def _prepared(root: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = ["subject\tsession\trun\tbold\tevents\tmask"]
    for s in (1, 2):
        for r in range(1, 5):
            stem = f"sub-{s:02d}_run-{r:02d}"
            base = rng.uniform(800, 1200, SHAPE_ZYX)
            image = nib.Nifti1Image(
                (base + 20 * rng.standard_normal((VOLUMES, *SHAPE_ZYX))).astype(np.float32).T,
                AFFINE,
            )
            image.header.set_xyzt_units("mm", "sec")
            image.header["pixdim"][4] = 2.0
            nib.save(image, root / f"{stem}_bold.nii")
            lines = ["onset\tduration\ttrial_type\tstimulus\ttext"]
            for k in range(TRIALS):
                article = "a" if r % 2 else "the"
                text = f"it is {article} {WORDS[(k + s * r) % 6]}" + " now" * (k % 2)
                lines.append(f"{10.0 * k + 4}\t2.0\tclip\tclip-{s}-{r}-{k}\t{text}")
            (root / f"{stem}_events.tsv").write_text("\n".join(lines) + "\n")
            rows.append(f"{s:02d}\tn/a\t{r:02d}\t{stem}_bold.nii\t{stem}_events.tsv\tmask.nii")
    mask = np.ones(SHAPE_ZYX, dtype=np.uint8)
    mask[0, 0, 0] = 0
    nib.save(nib.Nifti1Image(mask.T, AFFINE), root / "mask.nii")
    (root / "runs.tsv").write_text("\n".join(rows) + "\n")
    made = prepare_store(
        read_runs_table(root / "runs.tsv"),
        root / "store",
        window=WindowSpec(4.0, FRAMES),
        kernel=(2, 3, 3),
        split=lambda trials: split_unseen(trials, test_subjects=["02"], val_fraction=0.3),
    )
    return made.path


@pytest.fixture(scope="session")
def language_folder(shared_by_workers) -> Path:
    """A small LLM that has hardly read its corpus; not to be written to."""

    def train(folder: Path) -> Path:
        corpus = [f"{PROMPT} it is {a} {w} now" for w in WORDS for a in ("a", "the")]
        return small_llm(corpus, cache_dir=folder, dim=32, steps=20)

    return shared_by_workers("hardly-read", train)


@pytest.fixture(scope="session")
def language(language_folder) -> tuple[Any, Any]:
    """The small LLM, loaded."""
    return load_llm(str(language_folder))


@pytest.fixture(scope="session")
def finished_run(store, language_folder, tmp_path_factory) -> Path:
    """A run folder as training leaves it, without the training; copy it before changing it."""
    run = tmp_path_factory.mktemp("finished") / "run"
    record = keep_llm(language_folder, run)
    model = made_model(store, load_llm(str(language_folder)))
    card = ModelCard(record.name, store.tr, prompt=PROMPT, language=record)
    save_pretrained(model, run / "model", card)
    manifest = {
        "store": str(store.path),
        "store_beside": "../../store",
        "store_fingerprint": store.fingerprint(),
        "llm": record.name,
        "language_model": asdict(record),
        "split": store.split.to_json(),
        "audit": audit_store(store).to_json(),
        "adaptation": "inductive",
        "adapt_trials": [],
        "scored_trials": list(store.split.test),
        "fit_runs": list(store.fit_runs),
        "readout": {"alpha": 1.0, "r2": 0.1, "rank": 4, "windows": 12},
    }
    write_json(run / "manifest.json", manifest)
    rows = [{"stage": "stage1", "epoch": i, "step": 3 * i, "loss": 1 / i} for i in (1, 2)]
    write_atomic(
        run / "stages" / "stage1" / "log.jsonl", "".join(f"{json.dumps(r)}\n" for r in rows)
    )
    return run


@pytest.fixture
def model(store, language) -> Iterator[LLM4Brain]:
    """Random weights in front of the small LLM, which a test must leave as it was."""
    before = model_digest(language[0])
    made = made_model(store, language)
    made.card = type("Card", (), {"prompt": PROMPT})()
    yield made
    assert model_digest(language[0]) == before


def made_model(store, language) -> LLM4Brain:
    llm, tokenizer = language
    config = LLM4BrainConfig(
        frames=FRAMES,
        encoder=EncoderConfig(dim=16, depth=1, heads=2, decoder_dim=8, decoder_heads=2),
        qformer=QFormerConfig(dim=16, depth=1, heads=2, n_queries=6),
        video=VideoConfig(frames=2, size=8, patch=4, dim=16, depth=1, heads=2),
    )
    torch.manual_seed(0)
    made = LLM4Brain(
        config,
        grid=store.grid,
        centers_mm=store.grid.centers(store.affine),
        llm=llm,
        text_tokenizer=tokenizer,
        mean=store.mean,
        inv_std=store.inv_std,
        scale=store.scale,
    ).eval()
    # so that brains matter to the text
    torch.nn.init.normal_(made.projection.weight, std=0.5)
    return made
