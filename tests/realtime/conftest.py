"""A finished run of each system, without its training, and sources on a fake clock."""

from __future__ import annotations

import json
from dataclasses import asdict

import nibabel as nib
import numpy as np
import pytest
import torch
from afni_streams import brain_mask  # noqa: F401
from fake_clock import FakeClock
from small_run import (  # noqa: F401
    AFFINE,
    FRAMES,
    PROMPT,
    finished_run,
    language,
    language_folder,
    made_model,
    store,
)

from fastbrain._io import write_json
from fastbrain.brainllm import BrainLLM, BrainLLMCard, BrainLLMConfig, save_brainllm
from fastbrain.data import StoreRows, WindowSpec, fit_pca, prepare_store, read_runs_table, split_by
from fastbrain.data.store.preparation import save_preparation
from fastbrain.llm4brain import ModelCard, save_pretrained
from fastbrain.lm.kept_llm import keep_llm
from fastbrain.realtime import open_source

COMPONENTS = 3


@pytest.fixture(scope="session")
def brainllm_run(store, language, language_folder, finished_run, tmp_path_factory):  # noqa: F811
    """A BrainLLM with random weights, saved as training does."""
    run = tmp_path_factory.mktemp("finished-brainllm") / "run"
    record = keep_llm(language_folder, run)
    llm, tokenizer = language
    torch.manual_seed(0)
    model = BrainLLM(BrainLLMConfig(COMPONENTS, frames=FRAMES), llm=llm, text_tokenizer=tokenizer)
    torch.nn.init.normal_(next(iter(model.parameters())), std=0.5)
    train = store.split.train
    pca = fit_pca(StoreRows(store, train), COMPONENTS, fitted_on=train)
    split = {name: list(getattr(store.split, name)) for name in ("train", "val", "test")}
    card = BrainLLMCard(record.name, store.tr, split, store=store.fingerprint(), language=record)
    save_brainllm(model.eval(), run / "model", card, pca=pca)
    manifest = json.loads((finished_run / "manifest.json").read_text())
    for key in ("adaptation", "adapt_trials", "readout"):
        manifest.pop(key)
    manifest |= {"kind": "brainllm", "llm": record.name, "language_model": asdict(record)}
    write_json(run / "manifest.json", manifest)
    return run


@pytest.fixture(scope="session")
def runs(store, finished_run, brainllm_run):  # noqa: F811
    """Run folders by system, each with its preparation."""
    found = {"llm4brain": finished_run, "brainllm": brainllm_run}
    for run in found.values():
        save_preparation(store, run, replaced=True)
    return found


@pytest.fixture(scope="session")
def head_run(language, language_folder, finished_run, tmp_path_factory):  # noqa: F811
    """A run of LLM4Brain on a grid that is large enough for an estimate of motion."""
    root = tmp_path_factory.mktemp("head")
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[-1:1:12j, -1:1:18j, -1:1:16j]
    mask = (x**2 + y**2 + z**2 < 0.9).astype(np.uint8)
    base = 1000.0 * mask * (1 + 0.3 * np.sin(7 * x) * np.cos(5 * y) * np.cos(6 * z))
    nib.save(nib.Nifti1Image(mask.T, AFFINE), root / "mask.nii")
    rows = ["subject\tsession\trun\tbold\tevents\tmask"]
    for r in range(1, 4):
        noise = rng.standard_normal((40, *mask.shape))
        image = nib.Nifti1Image((base * (1 + 0.01 * noise)).astype(np.float32).T, AFFINE)
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = 2.0
        nib.save(image, root / f"{r}.nii")
        events = [f"{10.0 * k + 4}\t2.0\tclip\tclip-{r}-{k}\tit is {r} {k}" for k in range(6)]
        header = "onset\tduration\ttrial_type\tstimulus\ttext"
        (root / f"{r}.tsv").write_text("\n".join([header, *events]) + "\n")
        rows.append(f"01\tn/a\t{r:02d}\t{r}.nii\t{r}.tsv\tmask.nii")
    (root / "runs.tsv").write_text("\n".join(rows) + "\n")
    made = prepare_store(
        read_runs_table(root / "runs.tsv"),
        root / "store",
        window=WindowSpec(4.0, FRAMES),
        kernel=(4, 6, 4),
        split=lambda trials: split_by(
            trials, "run", train=["01"], val=["02"], test=["03"], closed_set=True
        ),
    )
    run = root / "run"
    record = keep_llm(language_folder, run)
    card = ModelCard(record.name, made.tr, prompt=PROMPT, language=record)
    save_pretrained(made_model(made, language), run / "model", card)
    manifest = json.loads((finished_run / "manifest.json").read_text())
    manifest |= {"store": str(made.path), "store_fingerprint": made.fingerprint()}
    manifest |= {"split": made.split.to_json(), "scored_trials": list(made.split.test)}
    write_json(run / "manifest.json", manifest)
    save_preparation(made, run)
    return run


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def open_folder(tmp_path, clock):
    """Opens the folder of the test as a source on a fake clock; closed at the end."""
    sources = []

    def one(kind: str = "dicom", **options):
        sources.append(open_source(f"{kind}:{tmp_path}", clock=clock, **options))
        return sources[-1]

    yield one
    for source in sources:
        source.close()
