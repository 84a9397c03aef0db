"""The tokenizer is a convolution over normalised volumes that visits kept patches only."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastbrain import TokenGrid
from fastbrain.errors import BackendError, InputError
from fastbrain.ops import explain, tokenize_voxels

BACKENDS = ["cpu", "reference"]


def grid_of(shape, kernel, stride=None, seed=0, share=0.5):
    return TokenGrid.from_mask(np.random.default_rng(seed).random(shape) < share, kernel, stride)


def volumes_of(batch, frames, shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-900, 900, (batch, frames, *shape), generator=generator).to(torch.int16)


def weight_of(features, frames, kernel, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(features, frames, *kernel, generator=generator) * 0.1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("shape", "kernel", "stride"),
    [
        ((12, 8, 16), (4, 4, 4), (4, 4, 4)),
        ((9, 7, 11), (3, 4, 5), (2, 3, 3)),
        ((13, 11, 9), (5, 3, 2), (5, 3, 2)),
        ((6, 6, 6), (6, 6, 6), (6, 6, 6)),
    ],
)
def test_equals_a_convolution_of_masked_normalised_volumes(shape, kernel, stride, backend):
    grid = grid_of(shape, kernel, stride)
    volumes, weight, bias = volumes_of(2, 3, shape), weight_of(5, 3, kernel), torch.randn(5)
    mean, inv_std = torch.rand(shape), torch.rand(shape)
    normal = (volumes * 0.01 - mean) * inv_std * torch.tensor(grid.mask)
    # sites of the lattice may reach past the volume's end, where nothing counts
    reach = [(n - 1) * s + k for n, s, k in zip(grid.lattice, stride, kernel, strict=True)]
    pad = [n for r, s in zip(reach[::-1], shape[::-1], strict=True) for n in (0, r - s)]
    dense = F.conv3d(F.pad(normal, pad), weight, bias, stride=stride)
    expected = dense.flatten(2).transpose(1, 2)[:, torch.tensor(grid.kept)]
    got = tokenize_voxels(
        volumes, weight, bias, grid=grid, mean=mean, inv_std=inv_std, scale=0.01, backend=backend
    )
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stored", [torch.int16, torch.float32], ids=str)
def test_patch_major_and_volume_layouts_agree_bitwise(stored, backend):
    grid = grid_of((13, 11, 18), (4, 4, 8))
    volumes = volumes_of(3, 2, grid.shape).to(stored)
    mean, inv_std = torch.rand(grid.shape), torch.rand(grid.shape)
    packed = [torch.from_numpy(grid.pack(t.numpy())) for t in (volumes, mean, inv_std)]
    weight = weight_of(37, 2, grid.kernel)
    results = [
        tokenize_voxels(v, weight, grid=grid, mean=m, inv_std=s, scale=0.1, backend=backend)
        for v in (volumes, packed[0])
        for m in (mean, packed[1])
        for s in (inv_std, packed[2])
    ]
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("backend", BACKENDS)
def test_voxels_outside_the_mask_have_no_influence(backend):
    grid = grid_of((9, 10, 11), (4, 4, 4))
    volumes, weight = volumes_of(2, 1, grid.shape), weight_of(7, 1, grid.kernel)
    changed = volumes.clone()
    changed[:, :, ~torch.tensor(grid.mask)] = 32767
    statistics = torch.rand(grid.shape)
    broken = statistics.clone()
    broken[~torch.tensor(grid.mask)] = torch.nan
    plain = tokenize_voxels(
        volumes, weight, grid=grid, mean=statistics, inv_std=statistics, backend=backend
    )
    other = tokenize_voxels(
        changed, weight, grid=grid, mean=broken, inv_std=broken, backend=backend
    )
    assert torch.equal(plain, other)


def test_normalises_before_it_rounds():
    # a one-percent signal on a baseline of 10,000: rounding raw values to bfloat16 would drown it
    grid = TokenGrid.from_mask(np.ones((8, 8, 8), dtype=bool), (4, 4, 4))
    signal = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0)) * 100
    volumes = (10_000 + signal).round().to(torch.int16)
    mean, inv_std = torch.full((8, 8, 8), 10_000.0), torch.full((8, 8, 8), 0.01)
    weight = weight_of(16, 1, (4, 4, 4))
    exact = tokenize_voxels(volumes, weight.double(), grid=grid, mean=mean, inv_std=inv_std)
    half = tokenize_voxels(volumes, weight.bfloat16(), grid=grid, mean=mean, inv_std=inv_std)
    assert (half.double() - exact).norm() < 0.01 * exact.norm()


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_reach_weight_and_bias_alone(backend):
    grid = grid_of((9, 10, 11), (4, 4, 4))
    volumes = volumes_of(2, 1, grid.shape).float().requires_grad_()
    mean = torch.rand(grid.shape, requires_grad=True)
    weight, bias = weight_of(7, 1, grid.kernel).requires_grad_(), torch.zeros(7, requires_grad=True)
    out = tokenize_voxels(volumes, weight, bias, grid=grid, mean=mean, backend=backend)
    # an expanded upstream gradient has strides of zero
    out.sum().backward()
    assert volumes.grad is None
    assert mean.grad is None
    torch.testing.assert_close(bias.grad, torch.full((7,), 2.0 * grid.n_tokens))
    # the op is linear in the weight
    step = torch.randn_like(weight)
    moved = tokenize_voxels(volumes, weight + step, bias, grid=grid, mean=mean, backend=backend)
    torch.testing.assert_close((weight.grad * step).sum(), (moved - out).sum(), rtol=1e-3, atol=1)


def test_frozen_weight_costs_no_gradient():
    grid = grid_of((9, 10, 11), (4, 4, 4))
    bias = torch.zeros(7, requires_grad=True)
    weight = weight_of(7, 1, grid.kernel)
    out = tokenize_voxels(volumes_of(1, 1, grid.shape), weight, bias, grid=grid, backend="cpu")
    out.sum().backward()
    assert bias.grad is not None
    assert weight.grad is None


def test_compiled_function_follows_a_new_grid_of_the_same_size():
    torch._dynamo.reset()
    grids = [grid_of((9, 8, 7), (3, 3, 3), seed=seed) for seed in (0, 1)]
    assert grids[0].n_tokens == grids[1].n_tokens
    assert not np.array_equal(grids[0].offsets, grids[1].offsets)
    volumes, weight = volumes_of(2, 1, (9, 8, 7)), weight_of(5, 1, (3, 3, 3))
    function = torch.compile(tokenize_voxels, fullgraph=True, backend="aot_eager")
    for grid in (*grids, *grids):
        expected = tokenize_voxels(volumes, weight, grid=grid)
        assert torch.equal(function(volumes, weight, grid=grid), expected)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"weight": torch.float16}, "float32 and bfloat16"),
        ({"volumes": torch.float16}, "int16 and float32"),
    ],
)
def test_cpu_backend_says_what_it_cannot(change, reason):
    grid = grid_of((9, 8, 7), (3, 3, 3))
    volumes = volumes_of(1, 1, grid.shape).to(change.get("volumes", torch.int16))
    weight = weight_of(5, 1, grid.kernel).to(change.get("weight", torch.float32))
    assert explain("tokenize_voxels", volumes, weight, grid=grid).chosen == "reference"
    with pytest.raises(BackendError, match=reason):
        tokenize_voxels(volumes, weight, grid=grid, backend="cpu")


def test_cpu_backend_refuses_rows_wider_than_a_word():
    grid = TokenGrid.from_mask(np.ones((1, 1, 130), dtype=bool), (1, 1, 65))
    volumes, weight = volumes_of(1, 1, grid.shape), weight_of(2, 1, grid.kernel)
    with pytest.raises(BackendError, match="at most 64"):
        tokenize_voxels(volumes, weight, grid=grid, backend="cpu")


GRID = grid_of((9, 8, 7), (3, 3, 3))
GOOD = {
    "volumes": volumes_of(1, 2, GRID.shape),
    "weight": weight_of(5, 2, GRID.kernel),
    "bias": torch.zeros(5),
    "grid": GRID,
}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"grid": "grid"}, "grid must be a TokenGrid"),
        ({"volumes": GOOD["volumes"].numpy()}, "volumes must be a torch.Tensor, got ndarray"),
        ({"volumes": GOOD["volumes"].double()}, "volumes must have dtype"),
        ({"volumes": GOOD["volumes"][:, :1]}, "volumes must have shape"),
        ({"volumes": GOOD["volumes"].transpose(-1, -3)}, "volumes must have shape"),
        ({"volumes": GOOD["volumes"].to("meta")}, "volumes must be on cpu"),
        ({"weight": GOOD["weight"].long()}, "weight must have dtype"),
        ({"weight": GOOD["weight"][..., :2]}, "weight must have shape"),
        ({"bias": torch.zeros(4)}, "bias must have shape"),
        ({"bias": torch.zeros(5).double()}, "bias must have dtype"),
        ({"mean": torch.zeros(3)}, "mean must have shape"),
        ({"inv_std": torch.zeros(GRID.shape).double()}, "inv_std must have dtype"),
        ({"scale": float("nan")}, "scale must be finite"),
        ({"scale": torch.tensor(1.0)}, "scale must be a number"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_refuses_what_breaks_its_contract(bad, message):
    arguments = {**GOOD, **bad}
    tensors = [arguments.pop(name) for name in ("volumes", "weight", "bias")]
    with pytest.raises(InputError, match=message):
        tokenize_voxels(*tensors, **arguments)


def test_threads_may_call_at_the_same_time():
    grid = grid_of((16, 16, 16), (4, 4, 4))
    volumes, weight = volumes_of(8, 1, grid.shape), weight_of(64, 1, grid.kernel)
    expected = tokenize_voxels(volumes, weight, grid=grid, backend="cpu")

    def right(_call):
        got = tokenize_voxels(volumes, weight, grid=grid, backend="cpu")
        return torch.equal(got, expected)

    with ThreadPoolExecutor(4) as pool:
        assert all(list(pool.map(right, range(120))))


def _in_a_child(queue, total):
    torch.set_num_threads(2)
    out = tokenize_voxels(GOOD["volumes"], GOOD["weight"], grid=GRID, backend="cpu")
    queue.put(float(out.double().sum()) == total)


@pytest.mark.filterwarnings("ignore:This process")
def test_works_in_a_forked_child(threads):
    threads(2)
    out = tokenize_voxels(GOOD["volumes"], GOOD["weight"], grid=GRID, backend="cpu")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_a_child, args=(queue, float(out.double().sum())))
    child.start()
    assert queue.get(timeout=30)
    child.join()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_weight_without_features_has_an_empty_gradient(dtype):
    grid = TokenGrid.from_mask(np.ones((4, 4, 8), bool), (2, 2, 4))
    volumes = torch.ones(2, 1, 4, 4, 8, dtype=torch.int16)
    weight = torch.zeros(0, 1, 2, 2, 4, dtype=dtype, requires_grad=True)
    tokens = tokenize_voxels(volumes, weight, grid=grid)
    assert tokens.shape == (2, grid.n_tokens, 0)
    assert torch.autograd.grad(tokens.sum(), weight)[0].shape == weight.shape
