"""Products with a bfloat16 memory on tile registers (AMX): against float64, strides, threads."""

from __future__ import annotations

import neighborhoods
import pytest
import torch
from neighborhoods import LIMIT, VARIANTS, excess

from fastbrain import _native
from fastbrain.ops import _measured, explain
from fastbrain.ops.neighborhood import cpu, tiles

pytestmark = pytest.mark.skipif(
    not hasattr(_native, "neighborhood_tiles_scores"), reason="the CPU multiplies no tiles (AMX)"
)

# products of bfloat16 are exact in float32; sums of up to 2048 of them are in another order
SUMMED = 3e-6
# of the loss, between ways that round weights to bfloat16 or not
ROUNDED = 1e-5
# (samples, rows, width): one of each, parts of tiles, several groups of samples, several chunks of
# rows and panels of columns
SHAPES = [(1, 1, 32), (16, 32, 64), (17, 33, 96), (50, 777, 1056), (100, 300, 544)]


def inputs(batch, size, width, *, gap=0):
    at = torch.Generator().manual_seed(size)
    features = torch.randn(batch, width, generator=at).bfloat16()
    memory = torch.randn(size, width + gap, generator=at).bfloat16()[:, :width]
    return features, memory


def scored(features, memory):
    batch, size = len(features), len(memory)
    logits = torch.full((size, -(-batch // 16) * 16), float("nan"))
    norms = torch.empty(size)
    tiles.scores(features, memory, 0.5, norms, logits)
    return logits[:, :batch], norms


def weights_of(batch, size):
    weights = torch.randn(size, -(-batch // 16) * 16)
    # what is behind the last sample must not count
    weights[:, batch:] = float("nan")
    return weights


@pytest.mark.parametrize("gap", [0, 6])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_scores_and_norms_are_those_of_float64(shape, gap):
    features, memory = inputs(*shape, gap=gap)
    logits, norms = scored(features, memory)
    expected = 0.5 * memory.double() @ features.double().T
    assert (logits - expected).abs().max() <= SUMMED * expected.abs().max()
    length = memory.double().norm(dim=1)
    assert ((norms - length).abs() / length).max() <= SUMMED


@pytest.mark.parametrize("gap", [0, 6])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weights_are_multiplied_without_rounding_to_bfloat16(shape, gap):
    _, memory = inputs(*shape, gap=gap)
    weights = weights_of(*shape[:2])
    expected = weights[:, : shape[0]].double().T @ memory.double()
    got = tiles.product(weights, memory, shape[0], rounds=False)
    # weights rounded once would be 1e-3 off; two parts keep 16 of their 24 bits
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weights_are_rounded_where_that_is_allowed(shape):
    _, memory = inputs(*shape)
    weights = weights_of(*shape[:2])
    expected = weights[:, : shape[0]].bfloat16().double().T @ memory.double()
    got = tiles.product(weights, memory, shape[0], rounds=True)
    assert (got - expected).abs().max() <= SUMMED * expected.abs().max()


@pytest.fixture
def way(monkeypatch):
    """Take tiles for any shape that they suit."""
    monkeypatch.setenv(_measured.VARIABLE, "tiles")
    monkeypatch.setattr(cpu, "LEAST_WIDTH", 1)
    monkeypatch.setattr(cpu, "_LEAST_WORK", 0)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [(2, 3, 5, 32), (36, 10, 1009, 288), (130, 7, 600, 544)], ids=str)
def test_is_as_near_to_float64_as_eager(way, shape, variant):
    def edit(features, memory, indices):
        memory[len(memory) // 3] = 0

    assert excess(shape, variant, edit) <= LIMIT


@pytest.mark.parametrize(("width", "expected"), [(288, "tiles"), (300, "stream")])
def test_only_widths_that_tiles_divide_take_the_way(way, width, expected):
    arguments = neighborhoods.inputs(36, 10, 1009, width, torch.bfloat16)
    options = {"temperature": 0.05, "variant": "paper"}
    chosen = explain("neighborhood_clustering", *arguments, **options).how.split(" ")[0]
    assert chosen == expected


def test_the_stride_of_the_memory_is_part_of_the_choice(way):
    features, prototypes, memory, indices = neighborhoods.inputs(36, 10, 1009, 288, torch.bfloat16)
    odd = torch.cat([memory, memory[:, :1]], dim=1)[:, :288]
    found = [
        neighborhoods.outcome(features, prototypes, rows, indices, variant="paper")
        for rows in (memory, odd, memory)
    ]
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[2], strict=True))
    assert neighborhoods.errors(found[1], [t.double() for t in found[0]])[0] <= ROUNDED


def test_threads_do_not_change_a_bit(monkeypatch):
    features, memory = inputs(50, 777, 1056)
    weights = weights_of(50, 777)
    found = []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        product = tiles.product(weights, memory, 50, rounds=False)
        found.append([*scored(features, memory), product])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_widths_that_tiles_do_not_divide_are_refused():
    features, memory = inputs(3, 5, 48)
    with pytest.raises(ValueError, match="multiple of 32"):
        scored(features, memory)
