"""Stages of LLM4Brain: configurations, presets, and the warning about the paper's temperature."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from fastbrain.errors import ConfigError
from fastbrain.llm4brain.methods import _preset_of
from fastbrain.llm4brain.training import (
    LLM4BrainStage,
    LossConfig,
    RunConfig,
    entropy_threshold,
    findings,
    preset,
    reachable_entropy_minimum,
)
from fastbrain.llm4brain.training.presets import PRESETS


@pytest.mark.parametrize("stage", ["pretrain", "video", "stage1", "stage2"])
@pytest.mark.parametrize("name", ["fastbrain", "paper", "published-code"])
def test_every_preset_survives_json(stage, name):
    config = preset(stage, name)
    assert config.groups
    assert LLM4BrainStage.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_paper_preset_is_as_printed():
    paper = preset("stage2", "paper")
    assert paper.losses.tau_nc == paper.losses.tau_cls == 0.5
    assert paper.losses.reduction == "sequence"
    assert paper.losses.source_ce_weight == 0
    assert set(paper.groups) == {"bridge", "prototypes"}
    assert preset("stage2").losses.tau_cls == 0.05


@pytest.mark.parametrize(
    ("tau", "n_classes", "expected"),
    # geometric optimum of the published settings, to two decimals
    [(0.5, 180, 4.52), (0.5, 100, 3.61)],
)
def test_reachable_entropy_minimum(tau, n_classes, expected):
    assert reachable_entropy_minimum(tau, n_classes) == pytest.approx(expected, abs=0.005)
    logits = np.full(n_classes, -1 / tau)
    logits[0] = 1 / tau
    p = np.exp(logits - logits.max())
    p /= p.sum()
    exact = -(p * np.log(p)).sum()
    assert reachable_entropy_minimum(tau, n_classes) == pytest.approx(exact, rel=1e-9)


def test_findings_name_a_temperature_that_cannot_separate():
    found = findings(preset("stage2", "paper").losses, 180)
    assert any("tau_cls=0.5" in f for f in found)
    assert any("source_ce_weight" in f for f in found)
    assert findings(LossConfig(), 180) == ()
    assert entropy_threshold(LossConfig(), 180) == pytest.approx(math.log(180) / 2)
    assert entropy_threshold(LossConfig(rho=1.5), 180) == 1.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "Did you mean 'epochs'"),
        ({"losses": {"tau_n": 0.1}}, "Did you mean 'tau_nc'"),
        ({"losses": {"tau_nc": 0}}, "tau_nc must be positive"),
        ({"optim": {"lr": -1}}, "lr must be positive"),
        ({"precision": "fp16"}, "precision must be"),
        ({"groups": "bridge"}, "groups"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(values, message):
    with pytest.raises(ConfigError, match=message):
        LLM4BrainStage.from_dict(values)


def test_what_a_part_leaves_out_stays_as_the_whole_has_it():
    run = RunConfig.from_dict({"stage2": {"epochs": 3, "optim": {"lr": 1e-5}}})
    ours = preset("stage2")
    assert run.stage2 == replace(ours, epochs=3, optim=replace(ours.optim, lr=1e-5))
    assert run.stage2 != LLM4BrainStage.from_dict({"epochs": 3, "optim": {"lr": 1e-5}})
    assert RunConfig.from_dict({"video": None, "stimulus": "text"}).video is None
    with pytest.raises(ConfigError, match="video must be configured for clips"):
        RunConfig.from_dict({"video": None, "stimulus": "clips"})
    # a stage that is not there by default has no preset to start from
    assert RunConfig.from_dict({"pretrain": {"epochs": 2}}).pretrain == LLM4BrainStage(epochs=2)


def test_unknown_presets_are_refused():
    with pytest.raises(ConfigError, match="Did you mean 'stage2'"):
        preset("stage3")
    with pytest.raises(ConfigError, match="Did you mean 'paper'"):
        preset("stage2", "papers")


@pytest.mark.parametrize("name", ["fastbrain", "paper", "paper-small", "published-code"])
def test_a_whole_run_by_one_name(name):
    run = RunConfig.preset(name)
    assert run.stage2 == preset("stage2", name)
    assert (run.model.readout_rank == 0) == (run.model.bridge_tokens == 0) == (name != "fastbrain")
    trained = {g for stage in (run.stage1, run.stage2) for g in stage.groups}
    assert ("readout" in trained) == (name == "fastbrain")
    # the weights that the paper starts from are not published
    assert (run.pretrain is None) == (name == "fastbrain")
    assert RunConfig.from_dict(run.to_dict()) == run
    assert run.adapt_runs == (0.5 if name.startswith("paper") else 0)
    knowing = run.with_subjects("affine")
    assert knowing.model.subjects == "affine"
    assert all("subjects" in stage.groups for stage in (knowing.stage1, knowing.stage2))
    assert knowing.with_subjects("embedding").stage1 == knowing.stage1


@pytest.mark.parametrize("name", PRESETS)
def test_the_methods_section_names_the_preset_of_a_run(name):
    config = RunConfig.preset(name)
    assert _preset_of(config) == name
    if name == "paper":
        small = replace(config, model=RunConfig.preset("paper-small").model)
        assert _preset_of(small) == "paper-small"


def test_an_unknown_run_preset_suggests():
    with pytest.raises(ConfigError, match="Did you mean 'paper'"):
        RunConfig.preset("papr")
