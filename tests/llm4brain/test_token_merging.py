"""Later stages and the temporal kernel of the tokenizer against torch's dense convolutions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastbrain import TokenGrid
from fastbrain.errors import CheckpointError, ConfigError, InputError
from fastbrain.llm4brain import (
    EncoderConfig,
    LLM4BrainConfig,
    MaskedAutoencoder,
    TokenizerConfig,
    VoxelTokenizer,
    load_scmbm,
)
from fastbrain.llm4brain.standalone_encoder import BrainEncoder

# fp32 sums of a few hundred products of order one
FP32 = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def holed():
    """13 × 11 × 14 voxels of which a ball with a hole is brain: lattice 5 × 6 × 5."""
    z, y, x = np.indices((13, 11, 14))
    far = (z - 6) ** 2 + (y - 5) ** 2 + (x - 7) ** 2
    mask = (far < 36) & ~((z < 6) & (y < 6) & (x < 7))
    return TokenGrid.from_mask(mask, (3, 2, 3))


def dense(tokens, grid):
    """Tokens (B, n, D) on their lattice, zeros where none is kept: (B, D, Z, Y, X)."""
    volume = torch.zeros(len(tokens), tokens.shape[-1], int(np.prod(grid.lattice)))
    volume[:, :, torch.tensor(grid.kept)] = tokens.transpose(1, 2)
    return volume.unflatten(2, grid.lattice)


def convolved(volume, join, kernel, stride):
    """Dense convolution; the far ends are padded as far as the last site reaches."""
    sites = join.grid.lattice
    ends = [
        (n - 1) * stride + kernel - size for n, size in zip(sites, volume.shape[2:], strict=True)
    ]
    padded = F.pad(volume, (0, ends[2], 0, ends[1], 0, ends[0]))
    out = F.conv3d(padded, join.weight, join.bias, stride=stride)
    assert out.shape[2:] == sites
    return out.flatten(2)[:, :, torch.tensor(join.grid.kept)].transpose(1, 2)


@pytest.mark.parametrize("activation", [None, "gelu", "silu"])
@pytest.mark.parametrize(
    ("kernels", "strides"),
    [((2,), ()), ((3,), ()), ((3,), (2,)), ((2, 2), ()), ((2, 3), (1, 2))],
)
def test_every_stage_is_the_dense_convolution(holed, kernels, strides, activation):
    torch.manual_seed(0)
    config = TokenizerConfig(kernels, strides, width=6, activation=activation)
    module = VoxelTokenizer(holed, 2, 10, config=config)
    assert holed.n_tokens < np.prod(holed.lattice)
    voxels = torch.randn(2, 2, *holed.shape)
    first = VoxelTokenizer(holed, 2, 6)
    first.load_state_dict(module.state_dict(), strict=False)
    # the first stage itself, on the dense volume
    kernel = F.conv3d(
        F.pad(voxels * torch.tensor(holed.mask), (0, 1, 0, 1, 0, 2)),
        first.weight, first.bias, stride=holed.stride,
    )  # fmt: skip
    expected = kernel.flatten(2)[:, :, torch.from_numpy(holed.kept)].transpose(1, 2)
    torch.testing.assert_close(first(voxels), expected, **FP32)
    grid = holed
    for join, size, step in zip(module.joins, kernels, strides or kernels, strict=True):
        if activation is not None:
            expected = getattr(F, activation)(expected)
        expected = convolved(dense(expected, grid), join, size, step)
        grid = join.grid
    assert module.n_tokens == grid.n_tokens < holed.n_tokens
    found = module(voxels)
    assert found.shape == (2, module.n_tokens, 10)
    torch.testing.assert_close(found, expected, **FP32)
    found.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in module.parameters())


def test_gradients_are_those_of_the_dense_convolution(holed):
    config = TokenizerConfig((3,), (2,), width=3)
    join = VoxelTokenizer(holed, 1, 4, config=config).joins[0].double()
    tokens = torch.randn(2, holed.n_tokens, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: join(t)[:, ::5], (tokens,))


@pytest.mark.parametrize("kernels", [(2,), (2, 2)])
def test_patches_behind_a_token(holed, kernels):
    module = VoxelTokenizer(holed, 2, 8, config=TokenizerConfig(kernels))
    n = holed.n_tokens
    # every patch is in exactly one token where cubes do not overlap
    behind = module.reach[module.reach < n]
    assert sorted(behind.tolist()) == list(range(n))
    # a patch changes its own token and no other
    voxels = torch.zeros(1, 2, n, holed.patch_voxels)
    before = module(voxels)
    for patch in (0, n // 2, n - 1):
        other = voxels.clone()
        other[:, :, patch] = 1.0
        changed = (module(other) != before).any(dim=-1)[0].nonzero().flatten().tolist()
        assert changed == (module.reach == patch).any(dim=1).nonzero().flatten().tolist()
    centers = torch.from_numpy(holed.centers(np.diag([3.0, 2.0, 4.0, 1.0])))
    found = module.centers(centers)
    for row, members in zip(found, module.reach, strict=True):
        torch.testing.assert_close(row, centers[members[members < n]].mean(dim=0))
    values = torch.randn(module.n_tokens)
    spread = module.spread(values)
    for value, members in zip(values, module.reach, strict=True):
        assert torch.equal(spread[members[members < n]].unique(), value[None])


def test_one_stage_joins_nothing(holed):
    module = VoxelTokenizer(holed, 2, 8)
    assert {k for k, _ in module.named_parameters()} == {"weight", "bias"}
    assert set(module.state_dict()) == {"weight", "bias", "mean", "inv_std"}
    centers = torch.randn(holed.n_tokens, 3, dtype=torch.float64)
    assert torch.equal(module.centers(centers), centers)
    values = torch.randn(holed.n_tokens)
    assert torch.equal(module.spread(values), values)


@pytest.mark.parametrize(
    ("frames", "steps", "kernel", "stride"),
    [(6, 1, 6, 6), (6, 3, 2, 2), (6, 3, 4, 1)],
)
def test_a_temporal_kernel_is_a_convolution_in_time(holed, frames, steps, kernel, stride):
    module = VoxelTokenizer(holed, frames, 4, steps=steps, config=TokenizerConfig(frames=kernel))
    voxels = torch.randn(2, frames, holed.n_tokens, holed.patch_voxels)
    known = voxels * torch.from_numpy(holed.patch_mask)
    # one convolution in time for each patch, its voxels as channels
    series = known.permute(0, 2, 3, 1).flatten(0, 1)  # (B·n, P, F)
    weight = module.weight.flatten(2).transpose(1, 2)  # (D, P, kernel)
    expected = F.conv1d(series, weight, module.bias, stride=stride)  # (B·n, D, W)
    expected = expected.unflatten(0, (2, -1)).permute(0, 3, 1, 2).flatten(1, 2)
    torch.testing.assert_close(module(voxels), expected, **FP32)
    assert module(voxels).shape == (2, steps * holed.n_tokens, 4)


@pytest.mark.parametrize(
    ("frames", "steps", "kernel"), [(6, 1, 4), (6, 3, 1), (6, 3, 3), (4, 2, 4)]
)
def test_a_temporal_kernel_that_leaves_volumes_out_is_refused(holed, frames, steps, kernel):
    with pytest.raises(InputError, match="temporal kernel"):
        VoxelTokenizer(holed, frames, 4, steps=steps, config=TokenizerConfig(frames=kernel))


def test_steps_that_do_not_divide_the_volumes_are_refused(holed):
    with pytest.raises(InputError, match="steps must divide 5 frames"):
        VoxelTokenizer(holed, 5, 4, steps=2, config=TokenizerConfig(frames=3))


@pytest.mark.parametrize(
    "bad", [{"kernels": (2, 2, 2)}, {"kernels": (1,)}, {"kernels": (2,), "strides": (3,)},
            {"strides": (2,)}, {"activation": "tanh"}, {"width": -1}]
)  # fmt: skip
def test_impossible_stages_are_refused(bad):
    with pytest.raises(ConfigError, match="TokenizerConfig"):
        TokenizerConfig(**bad)


def test_the_whole_model_counts_joined_tokens(make_model, small_config, grid):
    stages = TokenizerConfig(kernels=(2,), width=10, frames=3)
    encoder = replace(small_config.encoder, tokenizer=stages, steps=2)
    config = replace(small_config, frames=4, encoder=encoder)
    model = make_model(config=config)
    n = model.tokenizer.n_tokens
    assert n < grid.n_tokens
    voxels = torch.randint(-300, 300, (3, 4, grid.n_tokens, grid.patch_voxels)).short()
    assert model.encode(voxels).shape == (3, 2 * (1 + n), 24)
    assert model.encoder.positions.shape == (n, 24)
    assert model.bridge.n_tokens == 2 * (1 + n)
    assert model.readout.read.in_features == 2 * n * 24
    assert model.prefix(voxels).shape == (3, 5, 16)
    groups = {name for name, _ in model.parameter_groups()["tokenizer"]}
    assert "tokenizer.joins.0.weight" in groups
    assert LLM4BrainConfig.from_dict(config.to_dict()) == config


def test_pretraining_restores_the_patches_behind_a_token(holed):
    torch.manual_seed(0)
    config = EncoderConfig(
        dim=12, depth=1, heads=2, decoder_dim=12, decoder_heads=2, tokenizer=TokenizerConfig((2,))
    )
    centers = holed.centers(np.eye(4))
    model = BrainEncoder(config, grid=holed, frames=2, centers_mm=centers)
    autoencoder = MaskedAutoencoder(model.tokenizer, model.encoder, centers)
    voxels = torch.randn(3, 2, holed.n_tokens, holed.patch_voxels)
    n, p = model.tokenizer.n_tokens, holed.patch_voxels
    assert autoencoder.head.out_features == 2 * 8 * p
    keep = torch.arange(n - 3).expand(3, -1)
    hide = torch.arange(n - 3, n).expand(3, -1)
    autoencoder.restore = lambda *_: torch.zeros(3, 3, 2 * 8 * p)
    autoencoder.encoder.config = replace(config, mask_ratio=3 / n)
    torch.manual_seed(1)
    order = torch.rand(3, n).argsort(dim=1)[:, n - 3 :]
    torch.manual_seed(1)
    found = autoencoder(voxels)
    # predicting nothing costs the mean square of the hidden brain voxels
    total = count = 0.0
    brain = torch.from_numpy(holed.patch_mask)
    for window, tokens in zip(voxels, order, strict=True):
        for token in tokens:
            for patch in model.tokenizer.reach[token].tolist():
                if patch < holed.n_tokens:
                    total += window[:, patch, brain[patch]].square().sum()
                    count += 2 * brain[patch].sum()
    torch.testing.assert_close(found, total / count)
    del autoencoder.restore
    # what is hidden changes nothing that is seen
    other = voxels.clone()
    for token in range(n - 3, n):
        behind = model.tokenizer.reach[token]
        other[:, :, behind[behind < holed.n_tokens]] += 5
    torch.testing.assert_close(
        autoencoder.restore(other, keep, hide), autoencoder.restore(voxels, keep, hide)
    )


def test_an_encoder_with_stages_comes_back(holed, tmp_path):
    sizes = {"dim": 12, "depth": 1, "heads": 2, "decoder_dim": 12, "decoder_heads": 2}
    options = {"grid": holed, "frames": 2, "centers_mm": holed.centers(np.eye(4))}
    config = EncoderConfig(**sizes, tokenizer=TokenizerConfig((2,), width=6))
    model, again = BrainEncoder(config, **options), BrainEncoder(config, **options)
    path = model.save(tmp_path / "encoder.safetensors")
    assert load_scmbm(again.encoder, path, tokenizer=again.tokenizer).tokenizer
    voxels = torch.randn(2, 2, holed.n_tokens, holed.patch_voxels)
    assert torch.equal(again(voxels), model(voxels))
    plain = BrainEncoder(EncoderConfig(**sizes), **options)
    with pytest.raises(CheckpointError, match="tokenizer must fit"):
        load_scmbm(plain.encoder, path, tokenizer=plain.tokenizer)
