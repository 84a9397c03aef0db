"""From grayordinates and tables of parcels to pretrained, trained, evaluated and decoded runs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from surface_cohort import brain_models, series, write_cohort, write_dtseries, write_surfaces

from fastbrain import cli
from fastbrain.data import VoxelStore
from fastbrain.errors import ConfigError, StoreError
from fastbrain.inference import decode
from fastbrain.layout import TokenLayout
from fastbrain.llm4brain import EncoderConfig, LLM4BrainConfig, QFormerConfig, from_pretrained
from fastbrain.llm4brain.config import TokenizerConfig
from fastbrain.llm4brain.evaluate import evaluate_run
from fastbrain.llm4brain.training import RunConfig, preset, train_llm4brain
from fastbrain.lm import small_llm
from fastbrain.realtime.preprocess.pipeline import VolumePipeline
from fastbrain.training import OptimConfig

SPLIT = ["--split-by", "subject", "--train", "01", "--val", "02", "--test", "03", "04"]
ENCODER = {"dim": 24, "depth": 1, "heads": 2}
SCMBM = {
    "encoder": {**ENCODER, "decoder_dim": 12, "decoder_depth": 1, "decoder_heads": 2},
    "stage": {
        "name": "pretrain", "epochs": 1, "batch_size": 8, "groups": ["tokenizer", "encoder"],
        "checkpoint_every": 1,
    },
}  # fmt: skip


def config(language, **encoder) -> RunConfig:
    stage = {"epochs": 1, "batch_size": 8, "optim": OptimConfig(lr=1e-3)}
    return RunConfig(
        stimulus="text",
        llm=str(language),
        model=LLM4BrainConfig(
            encoder=EncoderConfig(**{**ENCODER, **encoder}),
            qformer=QFormerConfig(dim=24, depth=1, n_queries=4),
        ),
        pretrain=None,
        video=None,
        stage1=None,
        stage2=replace(preset("stage2"), **stage),
    )


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """A small language model that has hardly read its corpus."""
    cache = tmp_path_factory.mktemp("llm")
    return small_llm(["a dog runs", "rain falls"], cache_dir=cache, dim=32, steps=5)


@pytest.fixture(scope="module")
def world(tmp_path_factory, language):
    """A store of each kind, made by the command, and a run of LLM4Brain on grayordinates."""
    root = tmp_path_factory.mktemp("surface_runs")
    left, right = map(str, write_surfaces(root))
    options = ["--high-pass", "none", *SPLIT]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTBRAIN_CACHE", str(root / "cache"))
        for kind in ("cifti", "tsv"):
            table = write_cohort(root / kind, kind, subjects=4, volumes=32)
            mesh = ["--surfaces", left, right, "--patch-size", "16"] if kind == "cifti" else []
            store = str(root / f"{kind}-store")
            assert cli.main(["prepare", str(table), store, *mesh, *options]) == 0
        store = VoxelStore.open(root / "cifti-store")
        train_llm4brain(store, root / "run", config(language), allow_leak="a small cohort")
    return root


@pytest.mark.parametrize("kind", ["cifti", "tsv"])
def test_an_encoder_is_pretrained(world, kind, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SCMBM))
    out = tmp_path / "run"
    command = ["train", "scmbm", str(world / f"{kind}-store"), str(out)]
    assert cli.main([*command, "--config", str(tmp_path / "config.json")]) == 0
    assert (out / "encoder.safetensors").is_file()


def test_the_layout_is_saved_with_the_model(world):
    store = VoxelStore.open(world / "cifti-store")
    model = from_pretrained(world / "run" / "model", grid=store.grid, tr=store.tr)
    assert isinstance(model.grid, TokenLayout)
    assert model.grid == store.grid
    np.testing.assert_allclose(model.centers_mm.numpy(), store.grid.centers_mm)


def test_new_recordings_are_decoded(world, tmp_path):
    axis = brain_models()
    scan = write_dtseries(
        tmp_path / "sub-04_bold.dtseries.nii", series(32, len(axis), 9), axis=axis
    )
    found = decode(world / "run", [scan], every=8, confidence=False)
    assert len(found.windows) == 4


def test_a_run_is_evaluated_with_its_figure(world, tmp_path):
    run = shutil.copytree(world / "run", tmp_path / "run")
    evaluate_run(run, store=world / "cifti-store", bert=False, count=100)
    page = (run / "report.html").read_text()
    assert "up to 16 vertices or voxels" in page
    assert "over the brain mask" not in page


def test_the_quality_page_has_no_slices(world, tmp_path):
    page = tmp_path / "quality.html"
    assert cli.main(["quality", str(world / "cifti-store"), "--out", str(page)]) == 0
    assert "sub-01_run-1" in page.read_text()
    assert "Brain mask" not in page.read_text()


def test_what_needs_volumes_is_refused(world, language):
    with pytest.raises(StoreError, match="A scanner sends volumes"):
        VolumePipeline.from_run(world / "run")
    store = VoxelStore.open(world / "cifti-store")
    stages = config(language, tokenizer=TokenizerConfig(kernels=(2,)))
    with pytest.raises(ConfigError, match="merge neighbours on a lattice"):
        train_llm4brain(store, world / "refused", stages, allow_leak="a small cohort")


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("cifti", ["--kernel", "2", "2", "2"], "--kernel must be left out for surfaces"),
        ("cifti", ["--smoothing", "4"], "--smoothing must be left out"),
        ("cifti", ["--layout", "labels"], "--layout labels must come with --parcels"),
        ("cifti", [], "--surfaces LEFT.surf.gii"),
        ("tsv", ["--patch-size", "8"], "--patch-size must be left out"),
    ],
)
def test_options_that_do_not_fit(world, tmp_path, capsys, kind, options, said):
    command = ["prepare", str(world / kind / "runs.tsv"), str(tmp_path / "store")]
    assert cli.main([*command, *options, "--high-pass", "none", *SPLIT]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
