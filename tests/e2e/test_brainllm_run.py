"""BrainLLM from NIfTI files to scored sentences through the command line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from events import check_events
from fake_hub import hub_in

from fastbrain.brainllm import load_brainllm
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


def test_it_is_pushed_with_its_card(root, tmp_path, monkeypatch):
    hub_in(tmp_path / "hub", monkeypatch)
    assert main(["push", str(root / "run"), "lab/brain", "--license", "mit"]) == 0
    assert {p.name for p in (tmp_path / "hub").iterdir()} == {
        "README.md", "config.json", "features.safetensors", "manifest.json", "model.safetensors",
        "run",
    }  # fmt: skip
    card = (tmp_path / "hub" / "README.md").read_text()
    for said in (
        'license: "mit"', "8 principal components", "frozen; referenced", "| TR | ",
        "allowed because: texts recur",
    ):  # fmt: skip
        assert said in card, said
    saved, _, _ = open_brainllm_run(root / "run")
    again = load_brainllm(tmp_path / "hub", llm=(saved.model.llm, saved.model.text_tokenizer))
    for (name, ours), (_, theirs) in zip(
        saved.model.state_dict().items(), again.model.state_dict().items(), strict=True
    ):
        assert np.array_equal(ours.numpy(), theirs.numpy()), name


@pytest.fixture(scope="module")
def other(root):
    """A store of another cohort, in the form of the run's windows."""
    design = replace(DESIGN, runs=2, trials=8, seed=5)
    runs = simulate_cohort(root / "other-cohort", design)
    assert main(["prepare", str(runs), str(root / "other"), "--like", str(root / "run")]) == 0
    return root / "other"


def test_it_is_scored_on_another_data_set(root, other):
    before = (root / "run" / "manifest.json").read_bytes()
    assert main(["evaluate", str(root / "run"), "--store", str(other), "--no-bert"]) == 0
    found = root / "run" / "evaluations" / "other"
    metrics = json.loads((found / "metrics.json").read_text())
    store = VoxelStore.open(other)
    assert metrics["n"] == len(store.trials)
    assert metrics["cross_data_set"]["store_fingerprint"] == store.fingerprint()
    assert metrics["cross_data_set"]["name"] == "other"
    own = VoxelStore.open(root / "store")
    assert metrics["cross_data_set"]["trained_on"] == own.fingerprint()
    # its own audit: the training part of the run beside the other data set
    assert metrics["audit"]["clean"]
    assert metrics["audit"]["samples"]["train"] == len(own.split.train)
    assert metrics["audit"]["samples"]["test"] == len(store.trials)
    for name in ("subjects.md", "report.html", "paper/methods.md"):
        assert "ross-data-set evaluation" in (found / name).read_text()
    assert (root / "run" / "manifest.json").read_bytes() == before
    shutil.copytree(found, root / "again")
    assert main(["compare", str(found), str(root / "again")]) == 0


def test_a_data_set_that_training_knew_is_refused(root, other, capsys):
    again = root / "same-scans"
    runs = root / "cohort" / "runs.tsv"
    assert main(["prepare", str(runs), str(again), "--like", str(root / "run")]) == 0
    line = ["evaluate", str(root / "run"), "--store", str(again), "--no-bert"]
    assert main(line) == 1
    assert "identical scans" in capsys.readouterr().err
    assert not (root / "run" / "evaluations" / "same-scans").exists()
    # scores on another store of the same name are kept
    assert main([*line, "--name", "a/b"]) == 1
    assert "--name NAME" in capsys.readouterr().err


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
