"""The closed-form start of the readout is a ridge regression, and knows only its windows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fastbrain.errors import ConfigError
from fastbrain.llm4brain import Readout
from fastbrain.llm4brain.training import calibrate, fit_readout, preset, text_targets, video_targets
from fastbrain.llm4brain.training.fit_readout import _dual, _folds, _run


def test_equals_ridge_by_hand(make_model, make_loader, frames):
    model, loader = make_model(), make_loader(24, batch_size=5, shuffle=False)
    targets = video_targets(model, loader.trial_ids, frames)
    fit = fit_readout(model, loader, targets, alphas=[0.5])
    windows = [b for b in make_loader(24, batch_size=5, shuffle=False)]
    with torch.no_grad():
        x = torch.cat([model.tokenizer(b.voxels).flatten(1) for b in windows]).double()
        y = torch.cat([targets.of(b.trial_ids, torch.device("cpu")) for b in windows]).flatten(1)
        mine = torch.cat([model.brain_latents(b.voxels) for b in windows]).flatten(1)
    xc, yc = x - x.mean(0), (y - y.mean(0)).double()
    penalty = 0.5 * (xc * xc).sum() / len(xc)
    primal = torch.linalg.solve(xc.T @ xc + penalty * torch.eye(x.shape[1]), xc.T @ yc)
    expected = (xc @ primal).float() + y.mean(0)
    # the gate is closed: Z is the regression alone; fp32 forward against an fp64 solution
    torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-3)
    assert fit.windows == 24
    assert fit.alpha == 0.5


def test_low_rank_keeps_the_largest_directions(make_model, make_loader, frames):
    model, loader = make_model(), make_loader(24, shuffle=False)
    targets = video_targets(model, loader.trial_ids, frames)
    fit_readout(model, loader, targets)
    # four words: the targets have three directions beside their mean
    assert torch.linalg.matrix_rank(model.readout.write.weight @ model.readout.read.weight) <= 3


def test_noise_explains_nothing(make_model, make_loader, frames):
    model, loader = make_model(), make_loader(40, shuffle=False)
    targets = video_targets(model, loader.trial_ids, frames)
    rows = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    shuffled = type(targets)(targets.rows, targets.latents[rows])
    assert fit_readout(model, loader, shuffled).r2 < 0.2
    assert fit_readout(model, make_loader(40, shuffle=False), targets).r2 > 0.5


def test_folds_are_whole_runs():
    runs = ["a"] * 3 + ["b"] * 4 + ["c"] * 2
    folds = _folds(runs, 2)
    assert sorted(i for fold in folds for i in fold) == list(range(9))
    for fold in folds:
        inside = {runs[i] for i in fold}
        assert all(runs[i] not in inside for i in range(9) if i not in fold)
    assert _folds(["a"] * 6, 3) == [[0, 1], [2, 3], [4, 5]]


def test_dual_is_primal():
    x, y = torch.randn(7, 20, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)
    (dual,) = _dual(x @ x.T, y, 1.0, [0.3])
    primal = torch.linalg.solve(x.T @ x + 0.3 * torch.eye(20, dtype=torch.float64), x.T @ y)
    torch.testing.assert_close(x.T @ dual, primal)


def test_a_fresh_readout_is_silent_and_a_fitted_one_closes_the_gate():
    readout = Readout(5, 4, 3, 2, 6)
    tokens, latents = torch.randn(2, 5, 4), torch.randn(2, 2, 6)
    assert torch.equal(readout(tokens, latents), latents)
    readout.set_weights(torch.randn(2, 20), torch.randn(12, 2), torch.randn(12))
    assert torch.equal(readout(tokens, latents), readout(tokens, torch.zeros_like(latents)))


def test_a_model_without_readout_is_refused(make_model, make_loader, frames):
    model, loader = make_model(), make_loader()
    targets = video_targets(model, loader.trial_ids, frames)
    model.readout = None
    with pytest.raises(ConfigError, match="readout_rank"):
        fit_readout(model, loader, targets)


def test_out_of_fold_latents_have_not_seen_their_run(make_model, make_loader, frames):
    model, loader = make_model(), make_loader(24, batch_size=8, shuffle=False)
    targets = video_targets(model, loader.trial_ids, frames)
    cross = fit_readout(model, loader, targets, alphas=[0.1], folds=4).latents
    assert cross.latents.shape == targets.latents.shape
    held = _folds([_run(t) for t in loader.trial_ids], 4)[0]
    changed = type(targets)(targets.rows, targets.latents.clone())
    changed.latents[held] += 100.0
    again = fit_readout(model, loader, changed, alphas=[0.1], folds=4).latents
    # fp64 sums about another overall mean, stored as fp32 of size 100
    torch.testing.assert_close(again.latents[held], cross.latents[held], rtol=0, atol=1e-3)
    rest = [i for i in range(24) if i not in held]
    assert not torch.allclose(again.latents[rest], cross.latents[rest], atol=1.0)


def test_text_targets_tell_texts_apart(make_model):
    model = make_model()
    texts = {"a": "It is a ball.", "b": "It is a box.", "c": "It is a ball."}
    targets = text_targets(model, texts, fit=("a", "b"))
    assert targets.latents.shape == (3, 3, 12)
    one, other, same = targets.latents
    assert torch.equal(one, same)
    assert torch.nn.functional.cosine_similarity(one[0], other[0], dim=0) < 0.9
    weight = model.projection.weight
    torch.testing.assert_close(weight.T @ weight, torch.eye(12), rtol=1e-4, atol=1e-5)


def test_calibration_lowers_the_answer_loss_of_honest_latents(
    make_model, make_loader, frames, tmp_path
):
    model, loader = make_model(), make_loader(24, batch_size=8, shuffle=False)
    texts = dict(zip(loader.trial_ids, loader.texts, strict=True))
    targets = text_targets(model, texts, fit=loader.trial_ids)
    cross = fit_readout(model, loader, targets).latents
    before = model.readout.read.weight.clone()
    config = replace(preset("calibrate"), epochs=8, batch_size=8)
    history = calibrate(
        model, cross, texts, config, run_dir=tmp_path / "run", prompts=("What is it?",)
    )
    assert history.rows[-1]["loss"] < 0.9 * history.rows[0]["loss"]
    assert torch.equal(model.readout.read.weight, before)
