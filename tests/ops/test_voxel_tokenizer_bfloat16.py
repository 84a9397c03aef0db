"""Every way of multiplying bfloat16 on the CPU rounds as the reference does, or less."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastbrain import TokenGrid, _native
from fastbrain.ops import _measured, explain, tokenize_voxels
from fastbrain.ops._cases import all_cases
from fastbrain.ops._selftest import agrees, check
from fastbrain.ops.voxel_tokenizer import bfloat16, cpu, quick
from fastbrain.ops.voxel_tokenizer.checks import tokenize_problem

HAS_PAIRS = hasattr(_native, "voxel_tokenizer_bfloat16_forward")
HAS_TILES = hasattr(_native, "voxel_tokenizer_tiles_forward")


def needs(feature: bool, name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not feature, reason=f"this CPU has no {name}")


WAYS = [
    pytest.param("tiles", marks=needs(HAS_TILES, "AMX")),
    pytest.param("stream", marks=needs(HAS_PAIRS, "AVX512_BF16")),
    pytest.param("products", marks=needs(HAS_PAIRS, "AVX512_BF16")),
    "float32",
]
CASES = [case for case in all_cases() if case.op == "tokenize_voxels"]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    if request.param == "float32":
        monkeypatch.setattr(bfloat16, "has_kernels", lambda: False)
    else:
        monkeypatch.setenv(_measured.VARIABLE, request.param)
    monkeypatch.setattr(bfloat16, "_LEAST_WORK", 0)
    # several blocks in a small product
    monkeypatch.setattr(bfloat16, "_BLOCK", 1)
    monkeypatch.setattr(bfloat16, "_GRADIENT_ROWS", 50)
    return request.param


def inputs(shape, kernel, *, batch, frames, features, share=0.5, stored=torch.int16):
    generator = torch.Generator().manual_seed(0)
    grid = TokenGrid.from_mask(np.random.default_rng(0).random(shape) < share, kernel)
    volumes = torch.randint(-900, 900, (batch, frames, *shape), generator=generator).to(stored)
    weight = torch.randn(features, frames, *kernel, generator=generator) * 0.1
    bias = torch.randn(features, generator=generator)
    return grid, volumes, weight, bias


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_is_as_accurate_as_the_reference(case, way):
    passed, error = check(case, "cpu", torch.bfloat16, "cpu")
    assert passed, error


# odd rows, several blocks of the inner axis with an odd rest, more samples than one task or chunk
@pytest.mark.parametrize(
    ("shape", "kernel", "sizes"),
    [
        ((9, 9, 9), (3, 3, 3), {"batch": 3, "frames": 77, "features": 33}),
        ((9, 15, 10), (3, 5, 5), {"batch": 8, "frames": 15, "features": 65}),
        ((24, 16, 16), (2, 2, 2), {"batch": 3, "frames": 1, "features": 15, "share": 0.3}),
        ((16, 16, 32), (1, 2, 16), {"batch": 2, "frames": 37, "features": 64}),
        ((5, 6, 63), (1, 2, 63), {"batch": 1, "frames": 9, "features": 40}),
    ],
)
def test_blocks_and_rests_agree_with_the_reference(shape, kernel, sizes, way):
    grid, volumes, weight, bias = inputs(shape, kernel, **sizes)
    upstream = torch.randn(
        len(volumes), grid.n_tokens, len(weight), generator=torch.Generator().manual_seed(2)
    ).bfloat16()

    def outcome(dtype, backend):
        # the same numbers in every dtype
        leaves = [t.bfloat16().to(dtype).requires_grad_() for t in (weight, bias)]
        out = tokenize_voxels(volumes, *leaves, grid=grid, scale=0.01, backend=backend)
        return [out.detach(), *torch.autograd.grad(out, leaves, upstream.to(dtype))]

    truth = outcome(torch.float64, "reference")
    plain = outcome(torch.bfloat16, "reference")
    for got, p, t in zip(outcome(torch.bfloat16, "cpu"), plain, truth, strict=True):
        assert got.dtype == torch.bfloat16
        assert agrees(got, p, t, torch.bfloat16)[0]


@pytest.mark.parametrize("width", [4, 7, 8, 16])
def test_rounds_normalised_values_to_the_nearest_even(width, way):
    grid = TokenGrid.from_mask(np.ones((1, 8, width), dtype=bool), (1, 1, width))
    # all patterns of the bits that bfloat16 drops, ties among them
    raw = torch.arange(8 * width, dtype=torch.int32) * 4096 + 0x3F800000
    volumes = raw.view(torch.float32).view(1, 1, 1, 8, width)
    weight = torch.eye(width).view(width, 1, 1, 1, width).bfloat16()
    got = tokenize_voxels(volumes, weight, grid=grid, backend="cpu")
    assert torch.equal(got, volumes.view(1, 8, width).bfloat16())


def test_layouts_agree_bitwise(way):
    grid, volumes, weight, _ = inputs((13, 11, 18), (4, 5, 8), batch=3, frames=2, features=37)
    mean, inv_std = torch.rand(grid.shape), torch.rand(grid.shape)
    packed = [torch.from_numpy(grid.pack(t.numpy())) for t in (volumes, mean, inv_std)]
    results = [
        tokenize_voxels(
            v, weight.bfloat16(), grid=grid, mean=m, inv_std=s, scale=0.1, backend="cpu"
        )
        for v in (volumes, packed[0])
        for m in (mean, packed[1])
        for s in (inv_std, packed[2])
    ]
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_own_sums_do_not_depend_on_the_threads(dtype, way, threads):
    if way == "products":
        pytest.skip("the product of torch decides")
    grid, volumes, weight, bias = inputs((20, 24, 24), (4, 4, 8), batch=5, frames=9, features=99)
    results = []
    for count in (1, 2, 3):
        threads(count)
        leaves = [t.to(dtype).requires_grad_() for t in (weight, bias)]
        out = tokenize_voxels(volumes, *leaves, grid=grid, backend="cpu")
        grad = torch.autograd.grad(out, leaves[0], torch.ones_like(out) / 7)[0]
        results.append((out.detach(), grad))
    assert all(torch.equal(a, b) for r in results[1:] for a, b in zip(r, results[0], strict=True))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_autocast_converts_weight_and_bias_as_linear_does(backend):
    grid, volumes, weight, bias = inputs((9, 10, 11), (4, 4, 4), batch=2, frames=1, features=7)
    weight.requires_grad_()
    half = tokenize_voxels(volumes, weight.bfloat16(), bias.bfloat16(), grid=grid, backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = tokenize_voxels(volumes, weight, bias, grid=grid, backend=backend)
        chosen = explain("tokenize_voxels", volumes, weight, bias, grid=grid).chosen
        exact = tokenize_voxels(volumes, weight.double(), bias.double(), grid=grid)
    assert torch.equal(out, half)
    assert chosen == "cpu"
    assert exact.dtype == torch.float64
    out.float().sum().backward()
    assert weight.grad.dtype == torch.float32


def test_compiles_under_autocast():
    torch._dynamo.reset()
    grid, volumes, weight, bias = inputs((9, 8, 7), (3, 3, 3), batch=2, frames=1, features=5)
    function = torch.compile(tokenize_voxels, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = function(volumes, weight, bias, grid=grid)
        assert torch.equal(got, tokenize_voxels(volumes, weight, bias, grid=grid))


def test_kernels_follow_the_instruction_set():
    bfloat16.has_kernels.cache_clear()
    assert bfloat16.has_kernels() == HAS_PAIRS == (_native.isa() in ("avx512bf16", "avx512amx"))
    assert HAS_TILES == (_native.isa() == "avx512amx")


@needs(HAS_PAIRS, "AVX512_BF16")
@pytest.mark.parametrize(
    "names",
    [
        ("stream", "products"),
        ("products", "stream"),
        pytest.param(("tiles", "products", "stream"), marks=needs(HAS_TILES, "AMX")),
    ],
    ids=lambda names: names[0],
)
@pytest.mark.usefixtures("measuring")
def test_the_first_large_call_measures(names, monkeypatch):
    monkeypatch.setattr(bfloat16, "ways", lambda: names)
    monkeypatch.setattr(bfloat16, "_LEAST_WORK", 0)
    grid, volumes, weight, bias = inputs((9, 10, 11), (4, 4, 4), batch=2, frames=1, features=7)
    leaves = [t.bfloat16().requires_grad_() for t in (weight, bias)]

    def how():
        return explain("tokenize_voxels", volumes, *leaves, grid=grid).how

    assert how().startswith(f"{names[0]} (by rule")
    out = tokenize_voxels(volumes, *leaves, grid=grid)
    out.float().sum().backward()
    assert f"measured here: {names[0]}" in how()
    (forward, backward) = _measured.report()["seconds"]
    assert backward == f"{forward} backward"


@pytest.mark.parametrize("with_bias", [False, True])
def test_the_short_way_gives_the_same_bits(way, with_bias):
    grid, volumes, weight, bias = inputs((9, 10, 11), (4, 4, 4), batch=2, frames=1, features=32)
    arguments = (volumes, weight.bfloat16(), bias.bfloat16() if with_bias else None)
    short = quick.tokens(*arguments, grid, None, None, 0.5)
    if way == "float32":
        assert short is None
    else:
        full = cpu.call(tokenize_problem(*arguments, grid=grid, scale=0.5))
        assert torch.equal(short, full)
