"""BrainLLM from NIfTI files to scored sentences through the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from events import check_events

from fastbrain.brainllm.evaluate import open_brainllm_run
from fastbrain.cli import main
from fastbrain.data import (
    CohortDesign,
    VoxelStore,
    WindowSpec,
    prepare_store,
    read_runs_table,
    simulate_cohort,
    split_by,
)

pytest.importorskip("nilearn")

pytestmark = pytest.mark.slow
DESIGN = CohortDesign(subjects=1, runs=6, trials=12, resolution_mm=8, snr=2.0)
STAGE = {"epochs": 2, "batch_size": 16, "optim": {"lr": 1e-3}}
CONFIG = {
    "features": 8,
    "training": {
        "warmup": {"name": "warmup", **STAGE},
        "tune": {"name": "tune", **STAGE},
        "max_prompt_tokens": 16,
        "max_text_tokens": 32,
    },
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("e2e")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTBRAIN_CACHE", str(root / "cache"))
        runs = read_runs_table(simulate_cohort(root / "cohort", DESIGN))
        prepare_store(
            runs,
            root / "store",
            window=WindowSpec(4.0, 2),
            kernel=(4, 4, 4),
            split=lambda trials: split_by(
                trials,
                "run",
                train=["01", "02", "03"],
                val=["04"],
                test=["05", "06"],
                closed_set=True,
            ),
        )
        (root / "config.json").write_text(json.dumps(CONFIG))
        train = ["train", "brainllm", str(root / "store"), str(root / "run")]
        leak = ["--allow-leak", "texts recur in a cohort this small"]
        log = ["--log", "tensorboard"]
        assert main([*train, "--config", str(root / "config.json"), *leak, *log]) == 0
        yield root


def test_a_run_is_complete(root):
    check_events(root / "run")
    saved, store, manifest = open_brainllm_run(root / "run")
    assert set(saved.pca.scope.fitted_on) == set(store.split.train)
    assert tuple(manifest["scored_trials"]) == store.split.test
    assert manifest["audit"]["fits"]["PCA of 8 components"] == len(store.split.train)
    windows = saved.windows(store, store.split.train)
    assert windows.shape == (len(store.split.train), 2, 8)
    assert float(windows.flatten(0, 1).var(dim=0).mean()) == pytest.approx(1, abs=0.05)


def test_it_decodes_and_is_scored(root, capsys):
    assert main(["decode", str(root / "run"), "--out", str(root / "texts.tsv")]) == 0
    store = VoxelStore.open(root / "store")
    assert len((root / "texts.tsv").read_text().splitlines()) == 1 + len(store.split.test)
    assert main(["evaluate", str(root / "run"), "--no-bert"]) == 0
    metrics = json.loads((root / "run" / "metrics.json").read_text())
    controls = {score["control"] for score in metrics["scores"]}
    assert {"deranged brain", "noise brain", "zero brain", "prompt alone"} <= controls
    assert "pairwise" in capsys.readouterr().out
    paper = root / "run" / "paper"
    assert {p.stem for p in (paper / "figures").glob("*.pdf")} >= {"controls", "brain", "training"}
    methods = (paper / "methods.md").read_text()
    manifest = json.loads((root / "run" / "manifest.json").read_text())
    for sentence in (
        "Texts were decoded with BrainLLM [@ye2025brainllm]",
        f"reduced to 8 principal components, fitted on the training windows "
        f"({manifest['explained']:.1%} of their variance) and scaled to unit variance.",
        "A network (mlp) turned each volume of a window into one embedding",
        "It was trained with AdamW [@loshchilov2019adamw] in 2 stages: brain embeddings towards",
        f"{len(store.split.test)} samples were scored.",
        "(accepted because: texts recur in a cohort this small)",
    ):
        assert sentence in methods
    assert "ye2025brainllm" in (paper / "references.bib").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": 500}, "features must be at most 71 for 72 training volumes"),
        ({"features": 8, "atlas": "x.nii"}, "regions"),
        ({"feature": 8}, "feature"),
    ],
)
def test_what_cannot_work_is_refused_before_work(root, tmp_path, capsys, changes, message):
    (tmp_path / "config.json").write_text(json.dumps(changes))
    command = ["train", "brainllm", str(root / "store"), str(tmp_path / "run")]
    options = ["--config", str(tmp_path / "config.json"), "--allow-leak", "small"]
    assert main([*command, *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_region_of_an_atlas(root, tmp_path):
    import nibabel

    store = VoxelStore.open(root / "store")
    labels = np.zeros(store.grid.shape, dtype=np.int16)
    labels[: store.grid.shape[0] // 2] = 1
    image = nibabel.Nifti1Image(labels.T, store.affine)
    nibabel.save(image, tmp_path / "atlas.nii.gz")
    config = CONFIG | {"atlas": str(tmp_path / "atlas.nii.gz"), "regions": [1]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = ["train", "brainllm", str(root / "store"), str(tmp_path / "run")]
    options = ["--config", str(tmp_path / "config.json"), "--allow-leak", "small"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTBRAIN_CACHE", str(root / "cache"))
        assert main([*command, *options]) == 0
    saved, store, _ = open_brainllm_run(tmp_path / "run")
    inside = int((store.grid.mask & saved.region).sum())
    assert saved.pca.components.shape == (8, inside)
    assert inside < store.grid.mask.sum()
