"""Codes carry the signal; padding enters nothing; a saved model is the same model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastbrain.errors import CheckpointError, ConfigError, InputError
from fastbrain.vqlm import (
    CoderCard,
    QuantiserConfig,
    ScalarQuantiser,
    VectorQuantiser,
    VQAutoencoder,
    VQAutoencoderConfig,
    load_vq,
    save_vq,
)
from fastbrain.vqlm.quantiser import rotated

REGIONS, PATCH, STEPS = 3, 5, 4
SMALL = QuantiserConfig(codes=7, dim=4)
CONFIG = VQAutoencoderConfig(
    REGIONS, patch=PATCH, dim=12, depth=1, heads=2, decoder_depth=1, quantiser=SMALL
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def autoencoder(config=CONFIG, **options):
    torch.manual_seed(0)
    model = VQAutoencoder(
        config, center=np.array([100.0, 5.0, -3.0]), spread=np.array([10.0, 1.0, 0.1]), **options
    )
    series = model.center[:, None] + model.spread[:, None] * normal(4, REGIONS, PATCH * STEPS)
    model.quantiser.start(
        model.narrow(model.encode(model.patches(series))),
        generator=torch.Generator().manual_seed(0),
    )
    return model.eval(), series


def started(config):
    layer = VectorQuantiser(config)
    layer.start(normal(40, config.dim), generator=torch.Generator().manual_seed(0))
    return layer


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_each_vector_gets_its_nearest_code(metric):
    layer = started(replace(SMALL, metric=metric))
    z = normal(5, 6, 4, seed=3)
    found = layer(z)
    codes = layer.codebook
    if metric == "cosine":
        expected = (F.normalize(z, dim=-1) @ F.normalize(codes, dim=1).T).argmax(-1)
        torch.testing.assert_close(found.values.norm(dim=-1), torch.ones(5, 6))
    else:
        expected = torch.cdist(z, codes).argmin(-1)
        torch.testing.assert_close(found.values, codes[expected])
    assert torch.equal(found.indices, expected)
    difference = found.vectors - layer.values_of(expected)
    torch.testing.assert_close(found.commitment, difference.square().mean())


@pytest.mark.parametrize("layer", [started(SMALL), ScalarQuantiser(QuantiserConfig("fsq"))])
def test_masked_rows_have_no_code_no_value_no_loss_and_no_gradient(layer):
    z = normal(5, 6, layer.config.width)
    mask = normal(5, 6) > 0
    clean = layer(z[mask])
    z[~mask] = torch.nan
    z.requires_grad_()
    found = layer(z, mask)
    assert (found.indices[~mask] == -1).all()
    assert (found.values[~mask] == 0).all()
    assert torch.equal(found.indices[mask], clean.indices)
    torch.testing.assert_close(found.commitment, clean.commitment)
    (found.values.square().sum() + found.commitment).backward()
    assert (z.grad[~mask] == 0).all()
    assert z.grad[mask].abs().sum() > 0


def test_an_update_by_masked_rows_is_one_by_the_others():
    one, other = started(SMALL), started(SMALL)
    z, mask = normal(50, 4), normal(50) > 0
    found = one(z, mask)
    torch.manual_seed(1)
    one.update(found.vectors, found.indices, mask=mask)
    kept = other(z[mask])
    config = other.config
    other.config = replace(config, dead_below=0.0)
    other.update(kept.vectors, kept.indices)
    # revival draws rows at random: it is left out on one side, and no code is dead here
    torch.testing.assert_close(one.codebook, other.codebook)
    assert not torch.equal(one.codebook, started(SMALL).codebook)


def test_dead_codes_come_back():
    layer = started(replace(SMALL, decay=0.5, dead_below=0.2))
    layer.codebook[3] = -100 * torch.ones(4)
    layer.config = replace(layer.config, metric="euclidean")
    for seed in range(8):
        found = layer(normal(64, 4, seed=seed))
        layer.update(found.vectors, found.indices)
    assert layer.codebook[3].abs().max() < 10


def test_a_codebook_that_was_not_started_says_so():
    with pytest.raises(InputError, match="start"):
        VectorQuantiser(SMALL)(normal(5, 4))


@pytest.mark.parametrize("levels", [(2, 3), (8, 5, 4), (8, 8, 8, 5, 5)])
def test_scalars_use_all_their_levels_and_come_back(levels):
    layer = ScalarQuantiser(QuantiserConfig("fsq", levels=levels))
    z = 4 * normal(20_000, len(levels))
    found = layer(z)
    assert found.indices.min() == 0
    assert found.indices.max() == np.prod(levels) - 1
    torch.testing.assert_close(layer.values_of(found.indices), found.values)
    assert [len(found.values[:, k].unique()) for k in range(len(levels))] == list(levels)


def test_rotation_has_the_value_of_the_code_and_turns_gradients():
    z, q = normal(9, 4).requires_grad_(), normal(9, 4, seed=5)
    out = rotated(z, q)
    torch.testing.assert_close(out, q)
    gradient = normal(9, 4, seed=6)
    out.backward(gradient)
    stretch = q.norm(dim=1) / z.norm(dim=1)
    torch.testing.assert_close(z.grad.norm(dim=1), gradient.norm(dim=1) * stretch)
    # the angle between gradient and code is kept as the angle between gradient and vector
    torch.testing.assert_close(
        F.cosine_similarity(z.grad, z, dim=1), F.cosine_similarity(gradient, q, dim=1)
    )


@pytest.mark.parametrize("placed", [False, True])
def test_shapes_scale_and_spectrum(placed):
    centers = normal(REGIONS, 3) * 40 if placed else None
    model, series = autoencoder(centers_mm=centers)
    found = model(series)
    scaled = (series - model.center[:, None]) / model.spread[:, None]
    torch.testing.assert_close(found.target.flatten(2), scaled)
    assert found.signal.shape == (4, REGIONS, STEPS, PATCH)
    assert found.amplitude.shape == (4, REGIONS, STEPS, PATCH // 2 + 1)
    losses = found.losses()
    spectrum = np.abs(np.fft.rfft(found.target.numpy(), norm="ortho"))
    expected = ((found.amplitude.detach().numpy() - spectrum) ** 2).mean()
    assert losses["spectrum"].item() == pytest.approx(expected, rel=1e-5)
    # codes decode to the series in its own units
    restored = model.decode(model.codes(series))
    back = found.signal.flatten(2) * model.spread[:, None] + model.center[:, None]
    torch.testing.assert_close(restored, back)


def test_padding_changes_nothing():
    model, series = autoencoder()
    padded = F.pad(series, (0, 2 * PATCH), value=torch.nan)
    mask = torch.zeros(4, REGIONS, STEPS + 2, dtype=torch.bool)
    mask[..., :STEPS] = True
    plain, found = model(series), model(padded, mask)
    assert torch.equal(found.quantised.indices[..., :STEPS], plain.quantised.indices)
    torch.testing.assert_close(found.signal[..., :STEPS, :], plain.signal, rtol=1e-4, atol=1e-5)
    for name, loss in plain.losses().items():
        torch.testing.assert_close(found.losses()[name], loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        model.decode(found.quantised.indices)[..., : STEPS * PATCH],
        model.decode(plain.quantised.indices),
        rtol=1e-4,
        atol=1e-4,
    )


def test_every_loss_reaches_the_encoder():
    model, series = autoencoder()
    for name, loss in model(series).losses().items():
        model.zero_grad()
        loss.backward(retain_graph=True)
        assert model.embed.weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("series", "mask", "message"),
    [
        (normal(2, REGIONS, 7), None, "T a multiple of 5"),
        (normal(2, REGIONS + 1, 10), None, r"series must be \(B, 3, T\)"),
        (normal(REGIONS, 10), None, r"series must be \(B, 3, T\)"),
        (normal(2, REGIONS, 10), torch.ones(2, REGIONS, 3, dtype=torch.bool), "mask must be bool"),
        (normal(2, REGIONS, 10) * torch.nan, None, "finite"),
    ],
)
def test_bad_series(series, mask, message):
    model, _ = autoencoder()
    with pytest.raises(InputError, match=message):
        model(series, mask)


def test_bad_scales_and_sizes():
    with pytest.raises(InputError, match="center"):
        VQAutoencoder(CONFIG, center=np.zeros(2), spread=np.ones(3))
    with pytest.raises(InputError, match="spread"):
        VQAutoencoder(CONFIG, center=np.zeros(3), spread=np.zeros(3))
    with pytest.raises(ConfigError, match="metric"):
        QuantiserConfig(metric="l1")
    with pytest.raises(ConfigError, match="mlp_ratio must lie between 0 and 64"):
        VQAutoencoderConfig(regions=3, mlp_ratio=-1.0)
    with pytest.raises(ConfigError, match="pach"):
        VQAutoencoderConfig.from_dict({"regions": 3, "pach": 5})


@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.parametrize("kind", ["vq", "fsq"])
def test_a_saved_model_gives_the_same_codes(tmp_path, placed, kind):
    config = replace(CONFIG, quantiser=replace(SMALL, kind=kind, levels=(3, 4)))
    model, series = autoencoder(config, centers_mm=normal(REGIONS, 3) * 40 if placed else None)
    card = CoderCard(("a", "b", "c"), 0.735, ("run-1", "run-2"))
    save_vq(model, tmp_path / "model", card)
    loaded, read = load_vq(tmp_path / "model", regions=("a", "b", "c"))
    assert read == card
    assert loaded.config == config
    assert torch.equal(loaded.codes(series), model.codes(series))
    torch.testing.assert_close(loaded.spread, model.spread)
    with pytest.raises(CheckpointError, match="order"):
        load_vq(tmp_path / "model", regions=("a", "c", "b"))
    (tmp_path / "model/model.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_vq(tmp_path / "model")
