"""Recomputed, accumulated, compiled, in bfloat16: the same training, with less memory or time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fastbrain.errors import ConfigError
from fastbrain.llm4brain.training import StageTwo, preset
from fastbrain.nn.blocks import Block
from fastbrain.training import OptimConfig, StageConfig, fit
from fastbrain.training.execution import arrange

PROMPTS = ("What is it?",)
CONFIG = replace(preset("stage2"), epochs=1, batch_size=4, optim=OptimConfig(lr=1e-3))
GROUPS = tuple(g for g in CONFIG.groups if g != "prototypes")


@pytest.fixture
def make_model(make_model, language):
    """Factory of equal small models; the language model that they share is left as it was."""
    yield make_model
    language[0].gradient_checkpointing_disable()
    language[0].eval()


def gradients(make_model, make_loader, **settings):
    """Loss and gradients of one batch."""
    config = replace(CONFIG, groups=GROUPS, **settings)
    model = make_model()
    model.set_trainable(GROUPS)
    stage = StageTwo(model, config, prompts=PROMPTS)
    arrange(stage, config)
    stage.train()
    loss = stage(next(iter(make_loader(8, shuffle=False))))["loss"]
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in stage.named_parameters() if p.grad is not None}


def test_recomputing_changes_no_gradient(make_model, make_loader, monkeypatch):
    loss, expected = gradients(make_model, make_loader)
    calls = []
    real = Block.forward
    monkeypatch.setattr(Block, "forward", lambda *a: (calls.append(1), real(*a))[1])
    again, found = gradients(make_model, make_loader, recompute=True)
    # a block of the encoder and one of the Q-Former, forward and backward
    assert len(calls) == 4
    assert torch.equal(again, loss)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-8, msg=name)


def test_recomputing_reaches_the_language_model_and_no_dropout(make_model):
    model = make_model()
    model.recompute = True
    model.train()
    layers = [m for m in model.llm.modules() if getattr(m, "gradient_checkpointing", False)]
    assert any(layer.training for layer in layers)
    inside = [m for layer in layers for m in layer.modules() if m is not layer]
    assert not any(m.training for m in inside if m not in layers)
    assert not any(m.training for m in model.llm.modules() if isinstance(m, torch.nn.Dropout))
    model.eval()
    assert not any(m.training for m in model.llm.modules())


def trained(make_model, make_loader, run, *, batch, **settings):
    config = replace(CONFIG, groups=GROUPS, batch_size=batch, keep_best=False, **settings)
    model = make_model()
    model.set_trainable(GROUPS)
    stage = StageTwo(model, config, prompts=PROMPTS)
    history = fit(stage, make_loader(8, batch_size=batch, shuffle=False), config, run_dir=run)
    return history, {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}


def test_accumulation_is_the_big_batch(make_model, make_loader, tmp_path, monkeypatch):
    seen = []
    real = torch.optim.AdamW.step

    def step(optimizer, *args):
        seen.append([p.grad.clone() for g in optimizer.param_groups for p in g["params"]])
        return real(optimizer, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    whole, _ = trained(make_model, make_loader, tmp_path / "a", batch=8)
    parts, _ = trained(make_model, make_loader, tmp_path / "b", batch=2, accumulate=4)
    assert whole.step == parts.step == 1
    assert parts.rows[0]["loss"] == pytest.approx(whole.rows[0]["loss"], rel=1e-5)
    assert len(seen) == 2
    for one, other in zip(*seen, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_bfloat16_trains_float32_weights(make_model, make_loader, tmp_path):
    full, _ = trained(make_model, make_loader, tmp_path / "a", batch=8)
    half, weights = trained(make_model, make_loader, tmp_path / "b", batch=8, precision="bf16")
    assert half.rows[0]["loss"] == pytest.approx(full.rows[0]["loss"], rel=0.02)
    assert all(w.dtype == torch.float32 for w in weights.values())


@pytest.mark.slow
def test_compiled_is_the_same(make_model, make_loader):
    loss, expected = gradients(make_model, make_loader)
    again, found = gradients(make_model, make_loader, compile="aot_eager")
    torch.testing.assert_close(again, loss, rtol=1e-5, atol=1e-6)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_compilers_are_known_by_name():
    with pytest.raises(ConfigError, match="compile must be one of"):
        StageConfig(compile="fast")
