"""Neighbourhood clustering in the precision of bfloat16 tensors: error, masks, refusals, choice."""

from __future__ import annotations

from pathlib import Path

import neighborhoods
import pytest
import torch
from neighborhoods import LIMIT, VARIANTS, excess, outcome
from processors import COMPILED, other_isas, printed_with, slow

from fastbrain.errors import InputError
from fastbrain.ops import _measured, explain, neighborhood_clustering
from fastbrain.ops.neighborhood import autograd, checks, cpu, products, rounded

# (samples, classes, rows, width): odd sizes, one sample, a part of rows, several blocks
SHAPES = [(1, 2, 3, 5), (36, 10, 1009, 300), (17, 3, 601, 515), (130, 7, 2100, 257)]
BFLOAT16 = torch.bfloat16


@pytest.fixture
def rounds(monkeypatch):
    """Take the way for any shape, with blocks of as few rows as there may be."""
    monkeypatch.setenv(_measured.VARIABLE, "rounded")
    monkeypatch.setattr(cpu, "LEAST_WIDTH", 1)
    monkeypatch.setattr(cpu, "_LEAST_WORK", 0)
    monkeypatch.setattr(rounded, "_BLOCK", 1)
    monkeypatch.setattr(products, "MULTIPLIES_BFLOAT16", True)


def inputs(*sizes, seed=0):
    return neighborhoods.inputs(*sizes, BFLOAT16, seed=seed)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_as_near_to_float64_as_eager(rounds, shape, variant):
    def edit(features, memory, indices):
        if len(features) > 1:
            memory[len(memory) // 3] = 0

    assert excess(shape, variant, edit) <= LIMIT
    arguments = inputs(*shape)
    with torch.no_grad():
        alone = neighborhood_clustering(*arguments, temperature=0.05, variant=variant)
    assert alone.dtype == torch.float32
    assert torch.equal(alone, outcome(*arguments, variant=variant)[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_own_rows_and_unvisited_rows_are_masked(rounds, variant):
    def edit(features, memory, indices):
        memory[indices] = features
        memory[1000:2000] = 0

    assert excess((36, 10, 2100, 300), variant, edit) <= LIMIT


@pytest.mark.parametrize("variant", VARIANTS)
def test_views_and_autocast_do_not_change_a_bit(rounds, variant):
    features, prototypes, memory, indices = inputs(9, 4, 2501, 266)
    plain = outcome(features, prototypes, memory, indices, variant=variant)
    with torch.autocast("cpu", dtype=BFLOAT16):
        cast = outcome(features, prototypes, memory, indices, variant=variant)
    assert all(torch.equal(a, b) for a, b in zip(cast, plain, strict=True))
    got = outcome(features, prototypes, memory.T.contiguous().T, indices, variant=variant)
    assert all(torch.equal(a, b) for a, b in zip(got, plain, strict=True))


@pytest.mark.parametrize("value", [2.0, 0.5, torch.nan, torch.inf])
def test_a_row_of_another_norm_is_refused_and_named(rounds, value):
    arguments = inputs(4, 3, 5000, 20)
    arguments[2][4321] *= value
    with pytest.raises(InputError, match=r"memory must have rows of norm 1 or 0.*row 4321"):
        outcome(*arguments, variant="paper")


@pytest.mark.parametrize("eps", [0.0, autograd.DANCE_EPS])
def test_registered_operator_keeps_its_schema(rounds, eps):
    features, prototypes, memory, indices = (t.detach() for t in inputs(4, 3, 50, 20))
    others = torch.cat([prototypes, features]) if eps else prototypes
    args = (features, others, memory, indices, 0.05, eps, 3 if eps else 0, True)
    torch.library.opcheck(torch.ops.fastbrain.neighborhood_clustering_cpu.default, args)


def test_only_tensors_that_are_all_bfloat16_are_rounded(rounds, monkeypatch):
    arguments = inputs(36, 10, 2100, 300)

    def how(*arguments):
        options = {"temperature": 0.05, "variant": "paper"}
        return explain("neighborhood_clustering", *arguments, **options).how.split(" ")[0]

    assert how(*arguments) == "rounded"
    for changed in range(3):
        mixed = [t.float() if i == changed else t for i, t in enumerate(arguments)]
        assert how(*mixed) == "stream"
    monkeypatch.setattr(products, "MULTIPLIES_BFLOAT16", False)
    assert how(*arguments) == "stream"


@pytest.mark.usefixtures("rounds", "measuring")
def test_the_first_large_call_measures_all_three_ways():
    outcome(*inputs(36, 10, 1009, 300), variant="paper")
    (times,) = _measured.report()["seconds"].values()
    assert set(times) == {"stream", "products", "rounded"}


@pytest.mark.parametrize("stored", [torch.float32, torch.float64, torch.float16, BFLOAT16], ids=str)
@pytest.mark.parametrize("width", [1, 15, 64, 77])
def test_norms(stored, width):
    padded = torch.randn(37, width + 3, dtype=torch.float64).to(stored)
    for wide in (torch.float32, torch.float64):
        for rows in (padded[:, :width], padded[:, :width].T.contiguous().T, padded[:0, :width]):
            norms = torch.empty(len(rows), dtype=wide)
            checks.norms_of(rows, norms)
            # of float32 sums of up to 77 squares
            allowed = {torch.float32: 1e-6, torch.float64: 1e-14}[wide]
            if stored == torch.float64 and wide == torch.float32:
                allowed = 1e-6
            torch.testing.assert_close(
                norms.double(), rows.double().norm(dim=1), rtol=allowed, atol=0
            )


OF_AN_ISA = """
import os
from test_neighborhood_rounded import *
os.environ["FASTBRAIN_MEASURE"] = "rounded"
cpu.LEAST_WIDTH, cpu._LEAST_WORK, products.MULTIPLIES_BFLOAT16 = 1, 0, True
for variant in VARIANTS:
    print(float(excess((36, 10, 1009, 300), variant)))
"""


@pytest.mark.parametrize("isa", slow(other_isas(COMPILED["neighborhood"])))
def test_instruction_sets(isa):
    found = printed_with(isa, OF_AN_ISA, Path(__file__).parent).split()
    assert len(found) == len(VARIANTS)
    # written so that NaN fails
    assert all(float(ratio) <= LIMIT for ratio in found)
