"""What a run needs is known before it: counts are those of the model, memory and time estimates."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fastbrain.errors import ConfigError, InputError
from fastbrain.llm4brain import MaskedAutoencoder
from fastbrain.llm4brain.training import RunConfig, preset, split_target
from fastbrain.llm4brain.training.footprint import check_memory, footprint, measured_flops
from fastbrain.llm4brain.training.measured_stages import measured_stages
from fastbrain.llm4brain.training.pipeline import build_model
from fastbrain.lm.description import model_size


def of_three_blocks(config: RunConfig) -> RunConfig:
    sizes = config.model
    encoder = replace(sizes.encoder, dim=24, depth=3, decoder_dim=16, decoder_depth=2)
    qformer = replace(sizes.qformer, dim=24, depth=2, bert=True)
    return replace(config, stimulus="text", model=replace(sizes, encoder=encoder, qformer=qformer))


@pytest.mark.parametrize("name", ["fastbrain", "paper-small"])
def test_counts_are_those_of_the_model(store, language_folder, name):
    config = replace(of_three_blocks(RunConfig.preset(name)), llm=str(language_folder))
    found = footprint(store, config)
    model = build_model(store, config, str(language_folder))
    groups = model.parameter_groups()
    counts = {n: sum(p.numel() for _, p in ps) for n, ps in groups.items() if ps}
    if name == "paper-small":
        own = {id(p) for p in model.parameters()}
        masked = MaskedAutoencoder(model.tokenizer, model.encoder, model.centers_mm)
        counts["decoder"] = sum(p.numel() for p in masked.parameters() if id(p) not in own)
    assert found.parameters == counts
    batch = torch.zeros(1, *found.shapes["voxels"], dtype=torch.int16)
    with torch.no_grad():
        assert model.tokens(batch).shape[1:] == found.shapes["tokens"]
        assert model.encode(batch).shape[1:] == found.shapes["encoder"]
        assert model.bridge(model.encode(batch)).shape[1:] == found.shapes["context"]
        assert model.brain_latents(batch).shape[1:] == found.shapes["latents"]
        assert model.prefix(batch).shape[1:] == found.shapes["prefix"]
    assert ("readout" in found.parameters) == bool(found.readout) == (name == "fastbrain")
    assert found.trained["bridge"] == ("stage1", "stage2")
    assert "llm" not in found.trained
    assert 0 < found.weights_bytes < found.memory_bytes
    lines = "\n".join(found.lines(1e9))
    assert "estimate" in lines
    assert f"{counts['bridge']:,} parameters  stage1, stage2" in lines


def test_time_grows_with_epochs_and_the_language_model(store, language_folder):
    config = replace(of_three_blocks(RunConfig.preset("paper-small")), llm=str(language_folder))
    twice = {
        name: replace(stage, epochs=2 * stage.epochs)
        for name in ("pretrain", "stage1", "stage2")
        if (stage := getattr(config, name))
    }
    one, two = (
        footprint(store, replace(config, video=None)),
        footprint(store, replace(config, video=None, **twice)),
    )
    assert two.flops == 2 * one.flops
    assert two.weights_bytes == one.weights_bytes
    assert measured_flops(seconds=0.01) > 1e6


def test_the_paper_is_of_its_size(store, language_folder):
    config = replace(
        RunConfig.preset("paper"), llm=str(language_folder), stimulus="text", video=None
    )
    found = footprint(store, config)
    # 24 blocks of width 1024 with an MLP ratio of 1: 4 + 2 squares of the width each
    assert found.parameters["encoder"] == pytest.approx(24 * 6 * 1024**2, rel=0.01)
    assert found.shapes["latents"] == (32, 768)
    assert found.shapes["tokens"][1] == 1024
    assert "readout" not in found.parameters
    assert "stage2" in found.trained["prototypes"]
    assert config.adapt_runs == 0.5
    assert config.stage2 == preset("stage2", "paper-small")
    with pytest.raises(ConfigError, match="--preset paper-small"):
        check_memory(replace(found, weights_bytes=10**18))
    check_memory(replace(found, weights_bytes=10**6))


def test_a_share_of_every_persons_runs_adapts(store):
    adapt, scored = split_target(store, 0.5)
    people = {}
    for part, trials in (("adapt", adapt), ("scored", scored)):
        for t in trials:
            people.setdefault(store.by_id[t].subject, {}).setdefault(part, set()).add(
                store.by_id[t].run_id
            )
    assert set(adapt) | set(scored) == set(store.split.test)
    for runs in people.values():
        own = len(runs.get("adapt", ())) + len(runs["scored"])
        assert len(runs.get("adapt", ())) == min(max(1, round(own / 2)), own - 1)
        assert not runs.get("adapt", set()) & runs["scored"]


@pytest.mark.parametrize("runs", [1.5, -1, -0.5])
def test_runs_are_a_number_or_a_share(runs):
    with pytest.raises(ConfigError, match="share of them below 1"):
        RunConfig(adapt_runs=runs)


def test_a_model_is_counted_by_its_configuration(language_folder, tmp_path):
    size = model_size(str(language_folder), function="train")
    (tmp_path / "config.json").write_text((language_folder / "config.json").read_text())
    assert model_size(str(tmp_path), function="train") == size  # no weights there
    (tmp_path / "config.json").write_text('{"model_type": "unheard of"}')
    with pytest.raises(InputError, match="transformers knows"):
        model_size(str(tmp_path), function="train")


@pytest.mark.parametrize("rank", [0, 2])
def test_a_step_of_each_stage_is_measured(store, language_folder, rank):
    config = of_three_blocks(RunConfig(llm=str(language_folder), pretrain=preset("pretrain")))
    config = config.tuning_llm(rank) if rank else config
    measured = dict(measured_stages(store, config))
    assert list(measured) == ["pretrain", "stage1", "stage2"]
    n = len(store.split.train)
    for name, line in measured.items():
        stage = getattr(config, name)
        steps = stage.epochs * -(-n // stage.batch_size)
        assert f"a step of {min(n, stage.batch_size)} windows" in line
        assert f"{steps:,} steps" in line
