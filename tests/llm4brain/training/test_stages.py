"""The stages: what they change, what stays frozen to the byte, and that they learn."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch

from fastbrain.errors import ConfigError, InputError
from fastbrain.llm4brain.training import (
    StageTwo,
    preset,
    pretrain_scmbm,
    pretrain_video,
    stage_one,
    stage_two,
    video_targets,
)
from fastbrain.training import OptimConfig

PROMPT = "What is it?"


def snapshot(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def digest(tensor):
    whole = tensor.detach().contiguous().flatten()
    return hashlib.sha256(whole.view(torch.uint8).numpy().tobytes()).hexdigest()


def changed_groups(model, before):
    return {
        group
        for group, named in model.parameter_groups().items()
        if any(not torch.equal(before[n], p) for n, p in named)
    }


@pytest.mark.filterwarnings("ignore:stage_two")  # what the paper's settings earn
@pytest.mark.parametrize(
    ("name", "precision"),
    [("fastbrain", "fp32"), ("fastbrain", "bf16"), ("paper", "fp32"), ("published-code", "fp32")],
)
@pytest.mark.parametrize("stage", ["pretrain", "video", "stage1", "stage2"])
def test_a_stage_changes_its_groups_and_no_other_byte(
    model_for, make_loader, frames, tmp_path, stage, name, precision
):
    model, loader, run = model_for(name), make_loader(), tmp_path / "run"
    config = replace(preset(stage, name), epochs=3, batch_size=4, precision=precision)
    fixed = {k: digest(b) for k, b in model.named_buffers()}
    before_bytes = {k: digest(p) for k, p in model.named_parameters()}
    targets = video_targets(model, loader.trial_ids, frames)
    before = snapshot(model)
    if stage == "pretrain":
        pretrain_scmbm(model, loader, config, run_dir=run)
    elif stage == "video":
        texts = dict(zip(loader.trial_ids, loader.texts, strict=True))
        pretrain_video(model, texts, frames, config, run_dir=run, prompts=(PROMPT,))
    elif stage == "stage1":
        stage_one(model, loader, targets, config, run_dir=run)
    else:
        labels = {t: i % 4 for i, t in enumerate(loader.trial_ids)}
        target = make_loader(8, name="target")
        stage_two(
            model, loader, config, run_dir=run, prompts=(PROMPT,), labels=labels,
            target_loader=target,
        )  # fmt: skip
    assert changed_groups(model, before) == set(config.groups)
    trained = {k for g in config.groups for k, _ in model.parameter_groups()[g]}
    for k, p in model.named_parameters():
        assert k in trained or digest(p) == before_bytes[k], k
    # statistics of voxels, places, and what the language model has of them
    assert {k: digest(b) for k, b in model.named_buffers()} == fixed
    assert not model.training
    assert not any(m.training for m in model.llm.modules())


def test_video_targets_are_the_frozen_branch(make_model, frames):
    model = make_model().train()
    ids = tuple(f"t-{i}" for i in range(5))
    targets = video_targets(model, ids, frames, batch_size=2)
    assert model.training
    assert targets.latents.shape == (5, 3, 12)
    direct = model.eval().video_latents(torch.stack([frames(t) for t in ("t-3", "t-0")]))
    # batches of another size may sum in another order
    torch.testing.assert_close(
        targets.of(("t-3", "t-0"), torch.device("cpu")), direct, rtol=1e-5, atol=1e-6
    )
    with pytest.raises(InputError, match="t-9"):
        targets.of(("t-9",), torch.device("cpu"))


def test_the_whole_recipe_learns(make_model, make_loader, frames, tmp_path):
    """Captions from clips, then latents from voxels, then answers from voxels: each gets better."""
    model, loader = make_model(), make_loader(24, batch_size=8)
    texts = dict(zip(loader.trial_ids, loader.texts, strict=True))
    fast = OptimConfig(lr=5e-3, warmup_steps=3)
    options = {"batch_size": 8, "optim": fast}
    val = make_loader(12, name="v", batch_size=6, shuffle=False)
    history = pretrain_video(
        model, texts, frames, replace(preset("video"), epochs=30, **options),
        run_dir=tmp_path / "video", prompts=(PROMPT,),
    )  # fmt: skip
    assert history.rows[-1]["loss"] < 0.7 * history.rows[0]["loss"]
    targets = video_targets(model, [*loader.trial_ids, *val.trial_ids], frames)
    history = stage_one(
        model, loader, targets, replace(preset("stage1"), epochs=30, **options),
        run_dir=tmp_path / "one", val_loader=val,
    )  # fmt: skip
    assert history.best_value < 0.7 * history.rows[0]["val_loss"]
    history = stage_two(
        model, loader, replace(preset("stage2"), epochs=15, groups=("bridge",), **options),
        run_dir=tmp_path / "two", prompts=(PROMPT,), val_loader=val,
    )  # fmt: skip
    # the word is one of four that only the brain tells: guessing costs log 4 on one token of seven
    batch = next(iter(val))
    stage = StageTwo(model.eval(), preset("stage2"), prompts=(PROMPT,))
    with torch.no_grad():
        right = float(stage(batch)["loss"])
        rolled = type(batch)(batch.voxels.roll(1, 0), batch.trial_ids, batch.texts, batch.indices)
        wrong = float(stage(rolled)["loss"])
    assert right < wrong - 0.1
    assert right == pytest.approx(history.best_value, rel=0.3)


def test_the_papers_temperature_earns_a_warning(make_model, make_loader, tmp_path):
    model = make_model(n_classes=180)
    config = replace(preset("stage2", "paper"), epochs=1)
    flattens = pytest.warns(UserWarning, match="entropy separation only flattens")
    with flattens, pytest.warns(UserWarning, match="source_ce_weight=0"):
        stage_two(
            model, make_loader(), config, run_dir=tmp_path / "run", prompts=(PROMPT,),
            target_loader=make_loader(6, name="target"),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nothing moves prototypes", "must have labels or a target_loader"),
        ("label", r"labels must be in \[0, 4\)"),
        ("prompts", "stage_two: prompts must be a sequence of"),
        ("no classes", "must have classes and target trials, got 0"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_training(
    make_model, make_loader, tmp_path, fault, message
):
    model = make_model(n_classes=0 if fault == "no classes" else 4)
    loader = make_loader()
    options = {}
    if fault == "label":
        options = {"labels": dict.fromkeys(loader.trial_ids, 4)}
    elif fault == "prompts":
        options = {"prompts": "What?", "labels": {}}
    elif fault == "no classes":
        options = {"target_loader": make_loader(6, name="target")}
    with pytest.raises(ConfigError, match=message):
        stage_two(model, loader, run_dir=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
