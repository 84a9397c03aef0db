"""Neighbourhood clustering in float64 by the C++ kernel, as the reference computes it."""

from __future__ import annotations

import itertools
from pathlib import Path

import neighborhoods
import pytest
import torch
from neighborhoods import VARIANTS, errors, outcome
from processors import COMPILED, other_isas, printed_with, slow

from fastbrain.ops import explain, neighborhood_clustering
from fastbrain.ops.neighborhood import triton
from fastbrain.ops.neighborhood.checks import ClusteringProblem

OPTIONS = {"temperature": 0.05, "variant": "paper"}
# relative error: sums of float64 in two orders, with unit roundoff 1e-16
REORDERED = 1e-12
# similarities are kept up to 786,432; the last two stream them
SHAPES = [
    *((1, 3, 5, 7), (3, 1, 113, 1021), (33, 5, 1, 16), (64, 20, 2003, 256), (130, 7, 63, 127)),
    *((64, 10, 30_011, 24), (101, 18, 9001, 300)),
]


def inputs(*sizes):
    return neighborhoods.inputs(*sizes, torch.float64)


def error(arguments, **options):
    """Largest relative distance from the reference, of the value and of both gradients."""
    got, expected = (outcome(*arguments, backend=b, **options) for b in ("cpu", "reference"))
    assert all(t.dtype == torch.float64 for t in got)
    # no gradient is wanted
    alone = neighborhood_clustering(*(t.detach() for t in arguments), backend="cpu", **options)
    return max(errors([*got, alone], [*expected, expected[0]]))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("temperature", [0.02, 0.5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_to_twelve_digits(shape, temperature, variant):
    arguments = inputs(*shape)
    if shape[2] > 1:
        arguments[2][shape[2] // 3] = 0
    assert error(arguments, temperature=temperature, variant=variant) <= REORDERED


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_low_temperature_stays_in_range(variant):
    # exponentials up to e^500: ten times the logits of a temperature of 0.02, and their rounding
    assert error(inputs(9, 4, 501, 30), temperature=0.002, variant=variant) <= 10 * REORDERED


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_memory_in_another_precision(dtype, variant):
    features, prototypes, memory, indices = inputs(9, 4, 501, 67)
    memory[3] = 0
    arguments = features, prototypes, memory.to(dtype), indices
    assert error(arguments, temperature=0.05, variant=variant) <= REORDERED


def test_float32_features_keep_to_float32():
    features, prototypes, memory, indices = inputs(9, 4, 501, 67)
    options = {**OPTIONS, "backend": "cpu"}
    narrow = features.detach().float(), prototypes.detach().float()
    mixed = neighborhood_clustering(*narrow, memory, indices, **options)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, neighborhood_clustering(*narrow, memory.float(), indices, **options))


@pytest.mark.parametrize("variant", VARIANTS)
def test_views_and_threads_do_not_change_a_bit(variant, threads):
    features, prototypes, memory, indices = inputs(64, 10, 20_011, 42)
    options = {"temperature": 0.05, "variant": variant}
    plain = outcome(features, prototypes, memory, indices, **options)
    padded = torch.full((len(memory) + 1, 46), torch.nan, dtype=torch.float64)
    padded[1:, 2:44] = memory
    spread = torch.stack([indices, indices], dim=1)[:, 0]
    views = (padded[1:, 2:44], memory.T.contiguous().T)
    for view, count in itertools.product(views, (1, 2, 3)):
        threads(count)
        got = outcome(features, prototypes, view, spread, **options)
        assert all(torch.equal(a, b) for a, b in zip(got, plain, strict=True))


def test_triton_says_that_it_cannot(monkeypatch):
    arguments = inputs(4, 3, 50, 20)
    assert explain("neighborhood_clustering", *arguments, **OPTIONS).chosen == "cpu"
    monkeypatch.setattr(triton._triton, "missing", lambda _features: None)
    assert "it computes in float32" in triton.can_run(ClusteringProblem(*arguments, **OPTIONS))


@pytest.mark.parametrize("variant", VARIANTS)
def test_compiles_to_one_graph_with_the_same_gradients(variant):
    torch._dynamo.reset()
    features, prototypes, memory, indices = inputs(9, 4, 501, 67)
    options = {"temperature": 0.05, "variant": variant}
    expected = outcome(features, prototypes, memory, indices, **options)
    compiled = torch.compile(neighborhood_clustering, fullgraph=True, backend="aot_eager")
    value = compiled(features, prototypes, memory, indices, **options)
    got = [value.detach(), *torch.autograd.grad(value, (features, prototypes))]
    for g, e in zip(got, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-13, atol=1e-15)


OF_AN_ISA = """
from test_neighborhood_double import *
torch.set_num_threads(1)
for variant, shape in itertools.product(VARIANTS, SHAPES[2:]):
    print(error(inputs(*shape), temperature=0.05, variant=variant))
"""


@pytest.mark.parametrize("isa", slow(other_isas(COMPILED["neighborhood"])))
def test_instruction_sets(isa):
    found = printed_with(isa, OF_AN_ISA, Path(__file__).parent).split()
    assert len(found) == len(VARIANTS) * len(SHAPES[2:])
    assert max(map(float, found)) <= REORDERED
