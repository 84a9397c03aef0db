"""The closed-form start of the readout is a ridge regression, and knows only its windows."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from fastbrain.errors import ConfigError, InputError
from fastbrain.llm4brain import Readout
from fastbrain.llm4brain.training import (
    VideoLatents,
    calibrate,
    fit_readout,
    preset,
    text_targets,
    video_targets,
)
from fastbrain.llm4brain.training.random_projection import RandomProjection
from fastbrain.llm4brain.training.readout_plan import ReadoutPlan, plan_readout

module = sys.modules["fastbrain.llm4brain.training.fit_readout"]
_folds, _run = module._folds, module._run
# a float32 forward pass against a float64 solution
FP32 = {"rtol": 1e-3, "atol": 1e-3}


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
    # the gate is closed: Z is the regression alone
    torch.testing.assert_close(mine, expected, **FP32)
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


def plan_of(method, windows, features, size, held=0):
    return ReadoutPlan(method, windows, features, 12, size, held, 0, 0)


@pytest.mark.parametrize(
    ("method", "held"),
    [("dual", 26), ("dual", 7), ("primal", 0), ("projected", 0)],
    ids=["dual", "dual in four blocks", "primal", "all projections"],
)
@pytest.mark.parametrize("shared", [False, True], ids=["latents differ", "equal latents"])
def test_every_method_is_cross_validated_ridge(
    make_model, make_loader, frames, monkeypatch, method, held, shared
):
    model, loader = make_model(), make_loader(26, batch_size=5, shuffle=False)
    targets = video_targets(model, loader.trial_ids, frames)
    noise = torch.randn(26, 3, 12, generator=torch.Generator().manual_seed(3))
    latents = targets.latents + 0.3 * noise
    latents = latents[:, :1].expand(-1, 3, -1) if shared else latents
    targets = VideoLatents(targets.rows, latents)
    x = torch.cat([model.tokenizer(b.voxels).flatten(1) for b in loader]).detach().double()
    y = latents.flatten(1).double()
    plan = plan_of(method, 26, x.shape[1], 26 if method == "dual" else x.shape[1], held)
    monkeypatch.setattr(module, "plan_readout", lambda *sizes, **options: plan)
    fit = fit_readout(model, loader, targets, alphas=[0.1, 1.0, 10.0], folds=3)
    runs = [_run(t) for t in loader.trial_ids]
    scale = (x - x.mean(0)).square().sum() / 26

    def ridge(rows, alpha):
        mean, start = x[rows].mean(0), y[rows].mean(0)
        own = x[rows] - mean
        eye = alpha * scale * torch.eye(x.shape[1])
        return (x - mean) @ torch.linalg.solve(own.T @ own + eye, own.T @ (y[rows] - start)) + start

    best = {}
    for alpha in (0.1, 1.0, 10.0):
        cross = torch.zeros_like(y)
        for fold in _folds(runs, 3):
            rest = torch.tensor([i for i in range(26) if i not in fold])
            cross[fold] = ridge(rest, alpha)[fold]
        best[alpha] = (float((cross - y).square().sum()), cross)
    alpha = min(best, key=lambda a: best[a][0])
    assert fit.alpha == alpha
    spread = float((y - y.mean(0)).square().sum())
    # sums over float32 tokens
    assert fit.r2 == pytest.approx(1 - best[alpha][0] / spread, abs=1e-4)
    torch.testing.assert_close(
        fit.latents.of(loader.trial_ids, torch.device("cpu")).flatten(1),
        best[alpha][1].float(), **FP32,
    )  # fmt: skip
    with torch.no_grad():
        mine = torch.cat([model.brain_latents(b.voxels).flatten(1) for b in loader])
    expected = ridge(torch.arange(26), alpha)
    centre = expected.mean(0)
    basis = torch.linalg.svd(expected - centre, full_matrices=False).Vh[: model.readout.rank]
    expected = (expected - centre) @ basis.T @ basis + centre
    torch.testing.assert_close(mine, expected.float(), **FP32)


@pytest.mark.parametrize("features", [33, 34])
def test_a_random_projection_keeps_lengths_and_has_its_adjoint(features):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5, features, dtype=torch.float64, generator=generator)
    whole = RandomProjection(features, features)(rows)
    torch.testing.assert_close(whole @ whole.T, rows @ rows.T)
    part = RandomProjection(features, 10, seed=2)
    weights = torch.randn(3, 10, dtype=torch.float64)
    torch.testing.assert_close(part.back(weights) @ rows.T, weights @ part(rows).T)
    drawn = torch.stack(
        [RandomProjection(features, 10, seed=s)(rows).square().sum(1) for s in range(400)]
    )
    error = drawn.std(0) / 20
    assert bool(((drawn.mean(0) - rows.square().sum(1)).abs() < 4 * error).all())


def test_an_iterated_subspace_finds_the_directions_of_the_predictions(make_model, make_loader):
    model, loader = make_model(readout_rank=2), make_loader(60, batch_size=8, shuffle=False)
    generator = torch.Generator().manual_seed(0)
    # more targets and windows than the subspace of 2 · 2 + 16 directions
    few = torch.randn(60, 2, generator=generator) @ torch.randn(2, 36, generator=generator)
    latents = (few + 0.01 * torch.randn(60, 36, generator=generator)).unflatten(1, (3, 12))
    targets = VideoLatents({t: i for i, t in enumerate(loader.trial_ids)}, latents)
    fit = fit_readout(model, loader, targets, alphas=[0.1])
    x = torch.cat([model.tokenizer(b.voxels).flatten(1) for b in loader]).detach().double()
    xc, yc = x - x.mean(0), (latents.flatten(1) - latents.flatten(1).mean(0)).double()
    penalty = 0.1 * xc.square().sum() / 60
    whole = xc @ torch.linalg.solve(xc.T @ xc + penalty * torch.eye(x.shape[1]), xc.T @ yc)
    u, s, v = torch.linalg.svd(whole, full_matrices=False)
    assert fit.rank == 2
    with torch.no_grad():
        mine = model.readout.write(model.readout.read(x.float())) - latents.flatten(1).mean(0)
    torch.testing.assert_close(mine, ((u * s)[:, :2] @ v[:2]).float(), **FP32)


def test_the_windows_of_had_fit_into_a_gigabyte_by_projections():
    for outputs, predictions in ((128, True), (4096, True), (24576, False)):
        plan = plan_readout(20_000, 128_000, outputs, predictions=predictions)
        assert plan.method == "projected"
        assert plan.bytes <= 1e9
        assert plan.size >= 1024
        assert f"random projection of 20000 windows of 128000 features to {plan.size}" in (
            plan.describe()
        )
    exact = plan_readout(20_000, 128_000, 128, memory_gb=100)
    assert (exact.method, exact.passes) == ("dual", 1)
    assert exact.bytes > exact.exact_bytes > 8 * 20_000**2
    assert plan_readout(3000, 128_000, 128).method == "dual"
    assert plan_readout(3000, 128_000, 128).passes > 2
    assert plan_readout(20_000, 1000, 128).method == "primal"


def test_too_little_memory_is_refused_before_a_window_is_read(make_model, make_loader, frames):
    model, loader = make_model(), make_loader(24, shuffle=False)
    targets = video_targets(model, loader.trial_ids, frames)
    loader.voxels = None
    with pytest.raises(ConfigError, match=r"readout_memory_gb must be 0\.\d+ or more for 24 win"):
        fit_readout(model, loader, targets, memory_gb=1e-6)


def test_a_loader_that_changes_its_order_is_refused(make_model, make_loader, frames, monkeypatch):
    model, loader = make_model(), make_loader(24, shuffle=True)
    targets = video_targets(model, loader.trial_ids, frames)
    plan = plan_of("dual", 24, model.readout.read.in_features, 24, 9)
    monkeypatch.setattr(module, "plan_readout", lambda *sizes, **options: plan)
    with pytest.raises(InputError, match="keep its order"):
        fit_readout(model, loader, targets)


def test_a_projection_loses_little_if_few_directions_vary():
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(300, 2000, generator=generator) * torch.linspace(1, 0, 2000) ** 8
    truth = (rows @ torch.randn(2000, generator=generator)).double()
    found = []
    for x in (rows, RandomProjection(2000, 768)(rows)):
        x = x.double()
        gram = x[:200] @ x[:200].T
        penalty = 0.1 * gram.trace() / 200 * torch.eye(200)
        guess = x[200:] @ (x[:200].T @ torch.linalg.solve(gram + penalty, truth[:200]))
        found.append(float(torch.corrcoef(torch.stack([guess, truth[200:]]))[0, 1]))
    exact, projected = found
    assert exact > 0.7
    assert exact - 0.1 < projected < exact


def test_a_fresh_readout_is_silent_and_a_fitted_one_closes_the_gate():
    readout = Readout(5, 4, 3, 2, 6)
    tokens, latents = torch.randn(2, 5, 4), torch.randn(2, 2, 6)
    assert torch.equal(readout(tokens, latents), latents)
    readout.set_weights(torch.randn(2, 20), torch.randn(12, 2), torch.randn(12))
    assert torch.equal(readout(tokens, latents), readout(tokens, torch.zeros_like(latents)))


def test_a_model_without_readout_is_refused(make_model, make_loader, frames):
    model, loader = make_model(), make_loader()
    targets = video_targets(model, loader.trial_ids, frames)
    equal = type(targets)(targets.rows, torch.ones_like(targets.latents))
    with pytest.raises(InputError, match="targets must differ, got equal ones"):
        fit_readout(model, loader, equal)
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
