"""Series in windows, and how well the codes of a trained autoencoder restore them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from vq_waves import FRAMES, PATCH, REGIONS, STAGE, autoencoder, runs

from fastbrain.data import Autoregression, SeriesScaler
from fastbrain.errors import InputError
from fastbrain.vqlm import VQAutoencoder
from fastbrain.vqlm.training import SeriesLoader, coding_scores, train_vq, vq_preset
from fastbrain.vqlm.training.image_baseline import series_image


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


def test_series_of_a_read_only_file_bring_no_warning(tmp_path, recwarn):
    np.save(tmp_path / "run.npy", np.random.default_rng(0).normal(size=(4, 20)).astype(np.float32))
    run = np.load(tmp_path / "run.npy", mmap_mode="r")
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        next(iter(SeriesLoader({"a": run}, frames=10, patch=5, batch_size=2)))
        series_image(run, 8)
    finally:
        torch.set_warn_always(before)
    assert not [w for w in recwarn if "not writable" in str(w.message)]
