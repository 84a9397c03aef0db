"""The closed-form start of the readout is a ridge regression, and knows only its windows."""

from __future__ import annotations

import pytest
import torch

from fastbrain.errors import ConfigError
from fastbrain.models import Readout
from fastbrain.training import fit_readout, video_targets
from fastbrain.training.readout import _dual, _folds


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
