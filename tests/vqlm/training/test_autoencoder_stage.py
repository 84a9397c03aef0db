"""The stage of the autoencoder: it learns, resumes, and says when codes collapse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fastbrain.data import Autoregression, SeriesScaler
from fastbrain.errors import ConfigError, InputError
from fastbrain.training import OptimConfig
from fastbrain.training.loop import fit
from fastbrain.vqlm import QuantiserConfig, VQAutoencoder, VQAutoencoderConfig
from fastbrain.vqlm.training import (
    CodedSeries,
    SeriesLoader,
    TextSide,
    VQLosses,
    VQStageConfig,
    code_usage,
    coding_scores,
    start_codebook,
    train_vq,
    vq_preset,
)
from fastbrain.vqlm.training.autoencoder import pooled
from fastbrain.vqlm.training.image_baseline import series_image

REGIONS, PATCH, FRAMES = 4, 5, 20
TIMING = ("windows_per_s", "tokens_per_s", "wait")


def runs(count=6, frames=103, seed=0, noise=0.3):
    """Slow and fast waves of two sources in four regions, plus noise, far from zero."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(REGIONS, 2))
    made = {}
    for i in range(count):
        t = np.arange(frames)
        phase = rng.uniform(0, 2 * np.pi, 2)
        sources = np.stack([np.sin(0.35 * t + phase[0]), np.sin(0.9 * t + phase[1])])
        signal = mixing @ sources + noise * rng.standard_normal((REGIONS, frames))
        made[f"{seed}-{i}"] = 500 + 20 * signal
    return made


def autoencoder(train, **quantiser):
    config = VQAutoencoderConfig(
        REGIONS,
        patch=PATCH,
        dim=24,
        depth=1,
        heads=2,
        decoder_depth=1,
        quantiser=QuantiserConfig(**{"codes": 32, "dim": 8, **quantiser}),
    )
    scaler = SeriesScaler.fit(train)
    torch.manual_seed(0)
    return VQAutoencoder(config, center=scaler.center, spread=scaler.spread)


STAGE = VQStageConfig(
    epochs=3,
    batch_size=8,
    frames=FRAMES,
    optim=OptimConfig(lr=3e-3, warmup_steps=5, weight_decay=0.01),
)


def text(width=24, train=()):
    generator = torch.Generator().manual_seed(7)
    embeddings = torch.randn(50, width, generator=generator)
    return TextSide(
        embeddings,
        torch.randint(50, (400,), generator=generator),
        {run: embeddings[i] for i, run in enumerate(train)},
    )


def test_windows_cover_a_run_and_mask_what_is_behind_it():
    loader = SeriesLoader(
        {"a": np.arange(2 * 33.0).reshape(2, 33), "b": np.ones((2, 7))},
        frames=10,
        patch=5,
        batch_size=3,
        shuffle=False,
    )
    one, two = loader
    assert one.trial_ids == ("a:0", "a:10", "a:20")
    assert one.mask is None
    assert two.trial_ids == ("b:0",)
    assert two.mask.tolist() == [[[True, False]] * 2]
    assert one.series[1, 1].tolist() == list(range(43, 53))
    assert two.series[0, 0].tolist() == [1] * 7 + [0] * 3
    assert two.runs == ("b",)


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"a": np.ones((2, 4))},
        {"a": np.ones((2, 9)), "b": np.ones((3, 9))},
        {"a": np.full((2, 9), np.nan)},
    ],
)
def test_runs_that_cannot_be_read(bad):
    with pytest.raises(InputError, match="SeriesLoader"):
        SeriesLoader(bad, frames=10, patch=5, batch_size=3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    train, held = runs(), runs(2, seed=1)
    model = autoencoder(train, decay=0.9, commitment=0.25)
    config = replace(STAGE, epochs=25)
    history = train_vq(
        model, train, config, run_dir=tmp_path_factory.mktemp("run") / "vq", val_runs=held
    )
    return model, train, held, history


def test_codes_learn_the_signal_of_runs_never_seen(trained):
    model, train, held, history = trained
    baseline = Autoregression.fit(train)
    scores = coding_scores(
        model, SeriesLoader(held, frames=FRAMES, patch=PATCH, batch_size=4), baseline
    )
    assert scores.r2_mean > 0.65
    assert scores.r2_ar1 > 0.5
    assert scores.usage.share > 0.8
    assert scores.usage.finding == ""
    assert 1 < scores.usage.perplexity <= 32
    # R² against AR(1) is that against the mean in other units of error
    expected = 1 - (1 - scores.r2_mean) / (1 - scores.ar1_r2_mean)
    assert scores.r2_ar1 == pytest.approx(expected)
    best = min(row["val_signal_loss"] for row in history.rows)
    assert history.best_value == pytest.approx(best)
    assert {"val_r2_mean", "val_r2_ar1", "val_usage", "val_perplexity"} <= set(history.rows[-1])


@pytest.mark.slow
def test_listeners_never_seen_come_back_better_than_ar1(real_data, tmp_path):
    """Six language regions of people who hear a story, 2 s a volume."""
    files = sorted((real_data / "alice_fmri/6mm").glob("*-timecourses.txt"))
    if not files:
        pytest.skip("no alice_fmri among the real data")
    listeners = {f.name: np.loadtxt(f).T for f in files}
    listeners = {
        n: (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
        for n, x in listeners.items()
        if np.ptp(x) > 0
    }
    held = {n: x for i, (n, x) in enumerate(listeners.items()) if i % 5 == 0}
    train = {n: x for n, x in listeners.items() if n not in held}
    sizes, stage = vq_preset("fastbrain-small", regions=6)
    scaler = SeriesScaler.fit(train, kind="z")
    torch.manual_seed(0)
    model = VQAutoencoder(sizes, center=scaler.center, spread=scaler.spread)
    train_vq(model, train, stage, run_dir=tmp_path / "vq")
    loader = SeriesLoader(held, frames=40, patch=5, batch_size=16)
    scores = coding_scores(model, loader, Autoregression.fit(train))
    assert scores.r2_mean > 0.65
    assert scores.r2_ar1 > 0.3
    assert scores.usage.share > 0.8


def test_scores_are_those_of_plain_numpy(trained):
    model, train, held, _ = trained
    run = next(iter(held.values()))
    window = run[:, :FRAMES]
    series = torch.tensor(window[None], dtype=torch.float32)
    found = model.decode(model.codes(series))[0].detach().numpy()
    unit = model.spread.numpy()[:, None]
    truth, restored = window[:, 1:] / unit, found[:, 1:] / unit
    everything = np.concatenate(list(train.values()), axis=1)
    mean = everything.mean(axis=1, keepdims=True)
    pairs = [(r[:, :-1] - mean, r[:, 1:] - mean) for r in train.values()]
    phi = sum((a * b).sum(1) for a, b in pairs) / sum((a * a).sum(1) for a, _ in pairs)
    guess = (mean + phi[:, None] * (window[:, :-1] - mean)) / unit
    scores = coding_scores(
        model,
        SeriesLoader({"a": window}, frames=FRAMES, patch=PATCH, batch_size=1),
        Autoregression.fit(train),
    )
    error = ((truth - restored) ** 2).sum()
    assert scores.values == truth.size
    assert scores.r2_mean == pytest.approx(
        1 - error / ((truth - mean / unit) ** 2).sum(), rel=1e-3, abs=1e-4
    )
    assert scores.r2_ar1 == pytest.approx(
        1 - error / ((truth - guess) ** 2).sum(), rel=1e-3, abs=1e-4
    )


def test_padding_is_not_scored(trained):
    model, train, held, _ = trained
    baseline = Autoregression.fit(train)
    run = next(iter(held.values()))[:, : FRAMES + 2 * PATCH]

    def values(frames):
        loader = SeriesLoader({"a": run}, frames=frames, patch=PATCH, batch_size=2)
        return coding_scores(model, loader, baseline).values

    # in each window, all volumes but the first
    assert values(FRAMES) == REGIONS * (FRAMES - 1 + 2 * PATCH - 1)


def test_noise_has_nothing_to_give(tmp_path):
    """White noise: AR(1) is the mean, and codes hold only what their bits can."""
    rng = np.random.default_rng(0)
    train, held = ({f"{k}{i}": rng.standard_normal((REGIONS, 100)) for i in range(4)} for k in "ab")
    model = autoencoder(train)
    train_vq(model, train, STAGE, run_dir=tmp_path / "vq", val_runs=held)
    scores = coding_scores(
        model,
        SeriesLoader(held, frames=FRAMES, patch=PATCH, batch_size=4),
        Autoregression.fit(train),
    )
    assert abs(scores.ar1_r2_mean) < 0.02
    # rate-distortion of five Gaussian numbers by log2(32) = 5 bits
    assert scores.r2_mean < 1 - 2 ** (-2 * 5 / 5)


def test_every_enabled_loss_moves_a_parameter_that_the_optimiser_has():
    train = runs(3)
    config = replace(STAGE, weights=VQLosses(domain=1.0, contrastive=1.0))
    model = autoencoder(train)
    objective = CodedSeries(model, config, steps=10, text=text(9, train))
    loader = SeriesLoader(train, frames=FRAMES, patch=PATCH, batch_size=8)
    start_codebook(model, loader)
    objective.steps_done += 5
    terms = objective(next(iter(loader)))
    names = {"signal_loss", "spectrum_loss", "commitment_loss", "domain_loss", "contrastive_loss"}
    assert names | {"loss", "domain_accuracy"} == set(terms)
    trained = dict(objective.named_parameters())
    moved = {}
    for name in sorted(names):
        objective.zero_grad()
        terms[name].backward(retain_graph=True)
        moved[name] = {n for n, p in trained.items() if p.grad is not None and p.grad.any()}
        assert "model.embed.weight" in moved[name], name
    assert {"contrastive.log_temperature", "contrastive.brain.weight"} <= moved["contrastive_loss"]
    assert "model.to_text.weight" in moved["domain_loss"]
    assert set().union(*moved.values()) == set(trained)


def test_the_adversary_changes_the_encoder(tmp_path):
    train = runs(3)
    weights = {}
    for domain in (0.0, 1.0):
        model = autoencoder(train)
        config = replace(STAGE, epochs=2, weights=VQLosses(domain=domain))
        train_vq(model, train, config, run_dir=tmp_path / str(domain), text=text())
        weights[domain] = model.embed.weight.detach()
    # the seed and the batches are the same: only the adversary differs
    assert not torch.allclose(weights[0.0], weights[1.0], atol=1e-3)


class Stop(Exception):
    """Stands for a kill."""


def test_a_resumed_training_is_the_one_that_was_never_stopped(tmp_path):
    train, held = runs(3), runs(1, seed=1)
    config = replace(STAGE, weights=VQLosses(domain=0.5))
    whole = autoencoder(train)
    history = train_vq(whole, train, config, run_dir=tmp_path / "whole", val_runs=held, text=text())

    def stop(row):
        if row["epoch"] == 2:
            raise Stop

    parts = [autoencoder(train) for _ in range(2)]
    common = {"run_dir": tmp_path / "parts", "val_runs": held, "text": text()}
    with pytest.raises(Stop):
        train_vq(parts[0], train, config, **common, on_epoch=stop)
    again = train_vq(parts[1], train, config, **common, resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts[1].state_dict()[name]), name
    bare = [
        [{k: v for k, v in r.items() if k not in TIMING} for r in h.rows] for h in (history, again)
    ]
    assert bare[0] == bare[1]


def test_a_step_that_is_not_finite_is_skipped(tmp_path):
    train = runs(3)
    model = autoencoder(train)
    loader = SeriesLoader(train, frames=FRAMES, patch=PATCH, batch_size=8)
    start_codebook(model, SeriesLoader(train, frames=FRAMES, patch=PATCH, batch_size=8))

    class Broken(CodedSeries):
        calls = 0

        def forward(self, batch):
            self.calls += 1
            if self.calls == 2:
                with torch.no_grad():
                    kept = self.model.embed.weight.clone()
                    self.model.embed.weight.fill_(torch.nan)
                terms = super().forward(batch)
                with torch.no_grad():
                    self.model.embed.weight.copy_(kept)
                return terms
            return super().forward(batch)

    before = model.quantiser.codebook.clone()
    history = fit(
        Broken(model, STAGE, steps=9), loader, replace(STAGE, epochs=1), run_dir=tmp_path / "run"
    )
    assert history.guard.skipped == 1
    assert model.quantiser.codebook.isfinite().all()
    assert not torch.equal(before, model.quantiser.codebook)


def coded(quantiser, z):
    return [quantiser(z)]


def test_collapse_names_its_cause():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(500, 8, generator=generator)

    def quantiser(**options):
        model = autoencoder(runs(1), **{"codes": 32, **options}).quantiser
        model.start(z, generator=torch.Generator().manual_seed(0))
        return model

    good = quantiser()
    assert code_usage(good, coded(good, z)).finding == ""
    assert "only 9 tokens" in code_usage(good, coded(good, z[:9])).finding
    same = torch.ones(500, 8) + 1e-4 * z
    assert "same vector" in code_usage(good, coded(good, same)).finding
    far = quantiser(metric="euclidean")
    far.codebook[4:] += 1e3
    assert "does not keep up" in code_usage(far, coded(far, z)).finding
    few = z.clone()
    few[:, 1:] *= 0.3
    few[:, 0] = few[:, 0].abs() + 1.5
    dying = quantiser(dead_below=0.0)
    assert "never revived" in code_usage(dying, coded(dying, few)).finding
    found = code_usage(good, coded(good, few))
    assert "does not keep up" in found.finding
    assert found.used == round(found.share * 32) < 16
    # equal codes on top of a vector: the first gets it, and nothing is left for the others
    near = quantiser()
    near.codebook[5:] = z[7]
    assert "a few codes hold most" in code_usage(near, coded(near, z)).finding


def test_a_codebook_larger_than_the_data_is_refused(tmp_path):
    train = {"a": runs(1)["0-0"][:, :20]}
    model = autoencoder(train, codes=999)
    with pytest.raises(InputError, match="999"):
        train_vq(model, train, STAGE, run_dir=tmp_path / "vq")


def test_losses_without_what_they_need():
    train = runs(1)
    model = autoencoder(train)
    for losses in (VQLosses(domain=1.0), VQLosses(contrastive=1.0)):
        with pytest.raises(ConfigError, match="TextSide"):
            CodedSeries(model, replace(STAGE, weights=losses), steps=1)
    with pytest.raises(InputError, match="token_ids"):
        TextSide(torch.zeros(5, 3), torch.tensor([5]))
    with pytest.raises(ConfigError, match="signal"):
        VQLosses(signal=0.0, spectrum=0.0)


def test_pooling_leaves_padding_out():
    features = torch.arange(2 * 3 * 2 * 4.0).reshape(2, 3, 2, 4)
    mask = torch.ones(2, 3, 2, dtype=torch.bool)
    mask[1, :, 1] = False
    expected = torch.stack([features[0].mean((0, 1)), features[1, :, 0].mean(0)])
    torch.testing.assert_close(pooled(features, mask), expected)


@pytest.mark.parametrize("name", ["poster", "neurolm", "fastbrain"])
@pytest.mark.parametrize("small", ["", "-small"])
def test_presets_are_whole(name, small):
    model, stage = vq_preset(name + small, regions=6)
    assert model.regions == 6
    assert stage.frames % model.patch == 0
    assert VQStageConfig.from_dict(stage.to_dict()) == stage
    assert VQAutoencoderConfig.from_dict(model.to_dict()) == model
    assert bool(stage.weights.spectrum) == model.spectrum
    assert bool(stage.weights.domain) == (name != "fastbrain")
    assert (model.quantiser.codes, model.quantiser.dim) == ((64, 16) if small else (8192, 128))
    if small:
        VQAutoencoder(model, center=np.zeros(6), spread=np.ones(6))


def test_an_unknown_preset():
    with pytest.raises(ConfigError, match="neurolm"):
        vq_preset("neurolem", regions=6)


def test_series_of_a_read_only_file_bring_no_warning(tmp_path, recwarn):
    np.save(tmp_path / "run.npy", np.random.default_rng(0).normal(size=(4, 20)).astype(np.float32))
    run = np.load(tmp_path / "run.npy", mmap_mode="r")
    torch.set_warn_always(True)
    try:
        next(iter(SeriesLoader({"a": run}, frames=10, patch=5, batch_size=2)))
        series_image(run, 8)
    finally:
        torch.set_warn_always(False)
    assert not [w for w in recwarn if "not writable" in str(w.message)]
