"""Neighbourhood clustering by PyTorch's products: numbers, masks, refusals, choice."""

from __future__ import annotations

from pathlib import Path

import neighborhoods
import pytest
import torch
from neighborhoods import VARIANTS, errors, outcome, truth
from processors import COMPILED, other_isas, printed_with, slow

from fastbrain.errors import BackendError, InputError
from fastbrain.ops import _measured, explain, neighborhood_clustering
from fastbrain.ops._selftest import SLACK
from fastbrain.ops.neighborhood import cpu

# relative errors of another order of summation, as in the cases of the op
REORDERED = {torch.float64: 1e-12, torch.float32: 3e-6, torch.bfloat16: 3e-6}
# of exponentials of logits up to 50, which amplify it
WARM = 1e-5
# (samples, classes, rows, width): odd sizes, one sample, more than one block and part of rows, and
# a width that tile registers divide
SHAPES = [
    (1, 2, 3, 5),
    (36, 10, 1009, 300),
    (17, 3, 601, 515),
    (130, 7, 2100, 257),
    (50, 4, 777, 1056),
]


@pytest.fixture
def products(monkeypatch):
    """Take the products for any shape."""
    monkeypatch.setenv(_measured.VARIABLE, "products")
    monkeypatch.setattr(cpu, "LEAST_WIDTH", 1)
    monkeypatch.setattr(cpu, "_LEAST_WORK", 0)


def inputs(*sizes):
    # of seed 0 the entropy of the smallest shape is near zero, and all of it is rounding
    return neighborhoods.inputs(*sizes, seed=sizes[2])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_is_as_near_to_float64_as_the_reference(products, dtype, shape, variant):
    arguments = inputs(*shape, dtype)
    if shape[0] > 1:
        arguments[2][shape[2] // 3] = 0
    expected = truth(*arguments, variant=variant)
    plain = errors(outcome(*arguments, backend="reference", variant=variant), expected)
    got = outcome(*arguments, variant=variant)
    for error, allowed in zip(errors(got, expected), plain, strict=True):
        assert error <= SLACK * allowed + REORDERED[dtype]
    alone = neighborhood_clustering(
        *(t.detach() for t in arguments), temperature=0.05, variant=variant, backend="cpu"
    )
    assert torch.equal(alone, got[0])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_float32_features_are_not_rounded_to_a_narrow_memory(products, dtype, variant):
    features, prototypes, memory, indices = inputs(36, 10, 2100, 300)
    arguments = features, prototypes, memory.to(dtype), indices
    expected = truth(*arguments, variant=variant)
    # rounding to the memory's precision would give 1e-4 at least
    assert max(errors(outcome(*arguments, variant=variant), expected)) <= 5e-6


@pytest.mark.parametrize("variant", VARIANTS)
def test_own_rows_and_unvisited_rows_are_masked(products, variant):
    features, prototypes, memory, indices = inputs(36, 10, 2100, 300)
    memory[indices] = features.detach()
    memory[1000:2000] = 0
    arguments = features, prototypes, memory, indices
    options = {"temperature": 0.02, "variant": variant}
    assert max(errors(outcome(*arguments, **options), truth(*arguments, **options))) <= WARM


@pytest.mark.parametrize("variant", VARIANTS)
def test_views_and_autocast_do_not_change_a_bit(products, variant):
    features, prototypes, memory, indices = inputs(9, 4, 2501, 266)
    plain = outcome(features, prototypes, memory, indices, variant=variant)
    padded = torch.full((2502, 270), torch.nan)
    padded[1:, 2:268] = memory
    spread = torch.stack([indices, indices], dim=1)[:, 0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = outcome(features, prototypes, memory, indices, variant=variant)
    assert all(torch.equal(a, b) for a, b in zip(cast, plain, strict=True))
    got = outcome(features, prototypes, memory.T.contiguous().T, spread, variant=variant)
    assert all(torch.equal(a, b) for a, b in zip(got, plain, strict=True))
    # BLAS may take another kernel for another distance of rows
    got = outcome(features, prototypes, padded[1:, 2:268], spread, variant=variant)
    assert max(errors(got, [t.double() for t in plain])) <= REORDERED[torch.float32]


@pytest.mark.parametrize("value", [2.0, 0.5, torch.nan, torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_row_of_another_norm_is_refused_and_named(products, dtype, value):
    arguments = inputs(4, 3, 5000, 20, dtype)
    arguments[2][4321] *= value
    with pytest.raises(InputError, match=r"memory must have rows of norm 1 or 0.*row 4321"):
        outcome(*arguments, variant="paper")


@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_registered_operator_keeps_its_schema(products, eps):
    features, prototypes, memory, indices = inputs(4, 3, 50, 20)
    others = torch.cat([prototypes, features]).detach()
    args = (features.detach(), others, memory, indices, 0.05, eps, 3, True)
    torch.library.opcheck(torch.ops.fastbrain.neighborhood_clustering_cpu.default, args)


def test_rules_and_their_variable(monkeypatch):
    def how(*shape, variant="paper"):
        arguments = inputs(*shape)
        options = {"temperature": 0.05, "variant": variant}
        explained = explain("neighborhood_clustering", *arguments, **options)
        assert explained.chosen == "cpu"
        assert explained.how in str(explained)
        return explained.how.split(" ")[0]

    many = 256, 3, 6200, 640
    assert how(*many) == "stream"
    assert how(*many, variant="dance") == "products"
    # little but products
    assert how(256, 3, 600, 1030) == "products"
    # small calls are not measured, whatever the variable says
    monkeypatch.setenv(_measured.VARIABLE, "products")
    assert how(*many) == "products"
    assert how(8, 3, 200, 256) == "stream"
    monkeypatch.setenv(_measured.VARIABLE, "stream")
    assert how(*many, variant="dance") == "stream"
    monkeypatch.setenv(_measured.VARIABLE, "fast")
    ways = ", ".join(_measured.WAYS)
    with pytest.raises(BackendError, match=f"must be one of 0, 1, {ways}, got"):
        how(*many)


def test_similarities_that_take_more_than_their_share_are_streamed(monkeypatch):
    arguments = inputs(64, 3, 4000, 256)
    options = {"temperature": 0.05, "variant": "paper"}
    monkeypatch.setenv(_measured.VARIABLE, "products")
    monkeypatch.setattr(cpu, "_LEAST_WORK", 0)
    assert explain("neighborhood_clustering", *arguments, **options).how.startswith("products")
    monkeypatch.setattr(cpu, "_STORED_BYTES", 1 << 16)
    assert explain("neighborhood_clustering", *arguments, **options).how == "stream"


@pytest.mark.usefixtures("measuring")
def test_the_first_large_call_measures_on_its_own_arguments(monkeypatch):
    monkeypatch.setattr(cpu, "_LEAST_WORK", 0)
    arguments = inputs(17, 3, 601, 515)
    options = {"temperature": 0.05, "variant": "paper"}
    explained = explain("neighborhood_clustering", *arguments, **options)
    assert explained.how == "stream (by rule, until the first such call measures)"
    got = outcome(*arguments, variant="paper")
    assert max(errors(got, truth(*arguments, variant="paper"))) <= WARM
    explained = explain("neighborhood_clustering", *arguments, **options)
    assert "measured here: stream" in explained.how


OF_AN_ISA = """
import os
from test_neighborhood_products import *
os.environ["FASTBRAIN_MEASURE"] = "products"
cpu.LEAST_WIDTH, cpu._LEAST_WORK = 1, 0
for variant in VARIANTS:
    for dtype in (torch.float32, torch.float64):
        arguments = inputs(36, 10, 1009, 300, dtype)
        got = outcome(*arguments, variant=variant)
        print(*(e / REORDERED[dtype] for e in errors(got, truth(*arguments, variant=variant))))
"""


@pytest.mark.parametrize("isa", slow(other_isas(COMPILED["neighborhood"])))
def test_instruction_sets(isa):
    found = printed_with(isa, OF_AN_ISA, Path(__file__).parent).split()
    # the value and two gradients of each variant in two precisions
    assert len(found) == 3 * 2 * len(VARIANTS)
    assert max(map(float, found)) <= 1.0
