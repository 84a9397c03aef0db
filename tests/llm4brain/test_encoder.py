"""The fMRI encoder and its pretraining."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fastbrain.errors import ConfigError, InputError
from fastbrain.llm4brain import SCMBM, AdapterConfig, MaskedAutoencoder, VoxelTokenizer
from fastbrain.nn import brain_positions


@pytest.fixture
def autoencoder(grid, centers, small_config):
    torch.manual_seed(3)
    inv_std = np.ones((grid.n_tokens, grid.patch_voxels), dtype=np.float32)
    inv_std[1] = 0
    tokenizer = VoxelTokenizer(grid, 2, small_config.encoder.dim, inv_std=inv_std, scale=0.01)
    encoder = SCMBM(small_config.encoder, centers, adapter=AdapterConfig(rank=2))
    return MaskedAutoencoder(tokenizer, encoder, centers)


def test_positions_depend_on_millimetres_alone(centers):
    code = brain_positions(centers, 24)
    order = np.random.default_rng(0).permutation(len(centers))
    torch.testing.assert_close(brain_positions(centers[order], 24), code[order])
    # all patches are told apart
    assert torch.cdist(code, code).fill_diagonal_(1).min() > 0.05
    assert not brain_positions(centers, 25)[:, 24].any()


@pytest.mark.parametrize("bad", [np.zeros((4, 2)), np.full((4, 3), np.nan)])
def test_positions_refuse_what_is_not_a_place(bad):
    with pytest.raises(InputError, match="centers_mm"):
        brain_positions(bad, 24)


def test_the_encoder_knows_where_a_token_came_from(grid, centers, small_config):
    encoder = SCMBM(small_config.encoder, centers)
    tokens = torch.randn(2, grid.n_tokens, 24)
    everything = encoder(tokens)
    assert everything.shape == (2, 1 + grid.n_tokens, 24)
    keep = torch.tensor([[4, 0], [3, 2]])
    assert encoder(tokens, keep).shape == (2, 3, 24)
    # attention alone could not tell a swap of two tokens from nothing
    swapped = tokens[:, torch.tensor([1, 0, *range(2, grid.n_tokens)])]
    assert not torch.allclose(encoder(swapped)[:, 0], everything[:, 0], atol=1e-4)
    with pytest.raises(InputError, match="tokens must be"):
        encoder(tokens[:, 1:])


def test_hidden_patches_are_not_seen(autoencoder, voxels, grid):
    keep, hide = torch.tensor([[0, 2]] * 3), torch.tensor([[3, 4, 5]] * 3)
    restored = autoencoder.restore(voxels, keep, hide)
    assert restored.shape == (3, 3, 2 * grid.patch_voxels)
    other = voxels.clone()
    other[:, :, 3:] += 77
    torch.testing.assert_close(autoencoder.restore(other, keep, hide), restored)
    other[:, :, 0] += 77
    assert not torch.allclose(autoencoder.restore(other, keep, hide), restored, atol=1e-4)


def test_the_loss_is_the_mean_square_over_hidden_brain_voxels(autoencoder, voxels, grid):
    torch.manual_seed(5)
    loss = autoencoder(voxels).detach()
    torch.manual_seed(5)
    order = torch.rand(3, grid.n_tokens).argsort(dim=1)
    visible = round(grid.n_tokens * 0.25)
    restored = autoencoder.restore(voxels, order[:, :visible], order[:, visible:]).detach()
    alive = grid.patch_mask.copy()
    alive[1] = False  # constant voxels have nothing to restore
    errors = []
    for b in range(3):
        for row, site in enumerate(order[b, visible:].tolist()):
            for f in range(2):
                for p in np.flatnonzero(alive[site]):
                    truth = float(voxels[b, f, site, p]) * 0.01
                    errors.append((float(restored[b, row, f * grid.patch_voxels + p]) - truth) ** 2)
    assert float(loss) == pytest.approx(np.mean(errors), rel=1e-5)


def test_pretraining_reaches_tokenizer_and_encoder(autoencoder, voxels):
    autoencoder(voxels).backward()
    for name in ("tokenizer.weight", "encoder.blocks.0.mlp.up.weight", "head.weight", "hidden"):
        assert autoencoder.get_parameter(name).grad.abs().sum() > 0, name


def test_pretraining_learns_what_is_the_same_everywhere(autoencoder, grid):
    # one number a window fills the brain: two visible patches tell the rest
    torch.manual_seed(0)
    value = torch.randint(-200, 200, (32, 1, 1, 1)).expand(-1, 2, grid.n_tokens, grid.patch_voxels)
    voxels = value.to(torch.int16).contiguous()
    optimiser = torch.optim.Adam(autoencoder.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        loss = autoencoder(voxels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.fixture
def stepwise(grid, centers, small_config):
    torch.manual_seed(3)
    config = replace(small_config.encoder, steps=2)
    tokenizer = VoxelTokenizer(grid, 4, config.dim, steps=2, scale=0.01)
    return MaskedAutoencoder(tokenizer, SCMBM(config, centers), centers)


def test_steps_are_read_one_by_one_and_joined_in_time(stepwise, grid):
    voxels = torch.randint(-300, 300, (3, 4, grid.n_tokens, grid.patch_voxels), dtype=torch.int16)
    tokens = stepwise.tokenizer(voxels)
    assert tokens.shape == (3, 2 * grid.n_tokens, 24)
    later = voxels.clone()
    later[:, 2:] += 50
    other = stepwise.tokenizer(later)
    torch.testing.assert_close(other[:, : grid.n_tokens], tokens[:, : grid.n_tokens])
    encoder = stepwise.encoder
    first = slice(0, 1 + grid.n_tokens)
    # temporal attention starts at zero: the steps do not know of each other yet
    torch.testing.assert_close(encoder(other)[:, first], encoder(tokens)[:, first])
    for block in encoder.blocks:
        torch.nn.init.normal_(block.time.out.weight)
    assert not torch.allclose(encoder(other)[:, first], encoder(tokens)[:, first], atol=1e-3)


def test_a_hidden_patch_is_hidden_in_every_step(stepwise, grid):
    for block in stepwise.encoder.blocks:
        torch.nn.init.normal_(block.time.out.weight)
    voxels = torch.randint(-300, 300, (2, 4, grid.n_tokens, grid.patch_voxels), dtype=torch.int16)
    keep, hide = torch.tensor([[0, 2]] * 2), torch.tensor([[3, 4, 5]] * 2)
    restored = stepwise.restore(voxels, keep, hide)
    assert restored.shape == (2, 3, 4 * grid.patch_voxels)
    other = voxels.clone()
    other[:, :, 3:] += 77
    torch.testing.assert_close(stepwise.restore(other, keep, hide), restored)
    stepwise(voxels).backward()
    assert stepwise.encoder.blocks[0].time.out.weight.grad.abs().sum() > 0


def test_steps_divide_the_window(grid, centers, small_config):
    with pytest.raises(InputError, match="steps must divide 3 frames"):
        VoxelTokenizer(grid, 3, 24, steps=2)
    encoder = SCMBM(replace(small_config.encoder, steps=2), centers)
    tokenizer = VoxelTokenizer(grid, 4, 24)
    with pytest.raises(InputError, match="must read the encoder's 2 steps"):
        MaskedAutoencoder(tokenizer, encoder, centers)
    with pytest.raises(ConfigError, match="multiple of the 2 steps"):
        replace(small_config, frames=3, encoder=replace(small_config.encoder, steps=2))


def test_the_whole_model_in_steps(make_model, small_config, grid):
    config = replace(small_config, frames=4, encoder=replace(small_config.encoder, steps=2))
    model = make_model(config=config)
    voxels = torch.randint(-300, 300, (2, 4, grid.n_tokens, grid.patch_voxels), dtype=torch.int16)
    latents = model.brain_latents(voxels)
    assert latents.shape == (2, 5, 20)
    for step in (slice(2), slice(2, 4)):
        other = voxels.clone()
        other[:, step] += 50
        assert not torch.allclose(model.brain_latents(other), latents)
