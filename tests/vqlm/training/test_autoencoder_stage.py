"""The stage of the autoencoder: what its losses reach, how it resumes, and how codes collapse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from same_training import Stop, assert_same_tensors, without_timing
from vq_waves import FRAMES, PATCH, STAGE, autoencoder, runs

from fastbrain.errors import ConfigError, InputError
from fastbrain.training.loop import fit
from fastbrain.vqlm import VQAutoencoder, VQAutoencoderConfig
from fastbrain.vqlm.training import (
    CodedSeries,
    SeriesLoader,
    TextSide,
    VQLosses,
    VQStageConfig,
    code_usage,
    start_codebook,
    train_vq,
    vq_preset,
)
from fastbrain.vqlm.training.autoencoder import pooled


def text(width=24, train=()):
    generator = torch.Generator().manual_seed(7)
    embeddings = torch.randn(50, width, generator=generator)
    return TextSide(
        embeddings,
        torch.randint(50, (400,), generator=generator),
        {run: embeddings[i] for i, run in enumerate(train)},
    )


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
    assert_same_tensors(whole.state_dict(), parts[1].state_dict())
    assert without_timing(history.rows) == without_timing(again.rows)


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
