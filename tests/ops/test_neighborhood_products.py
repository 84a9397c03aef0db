"""Neighbourhood clustering by PyTorch's products: numbers, masks, refusals, choice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from processors import OTHER_ISAS

from fastbrain.errors import BackendError, InputError
from fastbrain.ops import _measured, explain, neighborhood_clustering
from fastbrain.ops.neighborhood import cpu

# a child imports this module, and what this module imports
HERE = Path(__file__).parent
HELPERS = str(HERE.parent / "helpers")

VARIANTS = ["paper", "dance"]
# (samples, classes, rows, width): odd sizes, one sample, more than one block and part of rows
SHAPES = [(1, 2, 3, 5), (36, 10, 1009, 300), (17, 3, 601, 515), (130, 7, 2100, 257)]


@pytest.fixture
def products(monkeypatch):
    """Take the products for any shape."""
    monkeypatch.setenv(_measured.VARIABLE, "products")
    monkeypatch.setattr(cpu, "LEAST_WIDTH", 1)
    monkeypatch.setattr(cpu, "_LEAST_WORK", 0)


def inputs(batch, classes, size, width, dtype=torch.float32):
    generator = torch.Generator().manual_seed(size)

    def unit(rows):
        drawn = torch.randn(rows, width, generator=generator, dtype=torch.float64)
        return F.normalize(drawn, dim=1).to(dtype)

    indices = torch.randperm(size, generator=generator)[:batch]
    return unit(batch).requires_grad_(), unit(classes).requires_grad_(), unit(size), indices


def outcome(features, prototypes, memory, indices, backend, **options):
    options = {"temperature": 0.05, **options, "backend": backend}
    value = neighborhood_clustering(features, prototypes, memory, indices, **options)
    return [value.detach(), *torch.autograd.grad(value, (features, prototypes))]


def truth(features, prototypes, memory, indices, **options):
    wide = [t.detach().double().requires_grad_() for t in (features, prototypes)]
    return outcome(*wide, memory.double(), indices, "reference", **options)


def errors(got, expected):
    return [float((g.double() - t).norm() / t.norm()) for g, t in zip(got, expected, strict=True)]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_is_as_near_to_float64_as_the_reference(products, dtype, shape, variant):
    arguments = inputs(*shape, dtype)
    if shape[0] > 1:
        arguments[2][shape[2] // 3] = 0
    expected = truth(*arguments, variant=variant)
    plain = errors(outcome(*arguments, "reference", variant=variant), expected)
    got = outcome(*arguments, "cpu", variant=variant)
    # another order of summation: as in the cases of the op
    noise = {torch.float64: 1e-12, torch.float32: 3e-6, torch.bfloat16: 3e-6}[dtype]
    for error, allowed in zip(errors(got, expected), plain, strict=True):
        assert error <= 1.25 * allowed + noise
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
    assert max(errors(outcome(*arguments, "cpu", variant=variant), expected)) <= 5e-6


@pytest.mark.parametrize("variant", VARIANTS)
def test_own_rows_and_unvisited_rows_are_masked(products, variant):
    features, prototypes, memory, indices = inputs(36, 10, 2100, 300)
    memory[indices] = features.detach()
    memory[1000:2000] = 0
    arguments = features, prototypes, memory, indices
    options = {"temperature": 0.02, "variant": variant}
    assert max(errors(outcome(*arguments, "cpu", **options), truth(*arguments, **options))) <= 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_views_and_autocast_do_not_change_a_bit(products, variant):
    features, prototypes, memory, indices = inputs(9, 4, 2501, 266)
    plain = outcome(features, prototypes, memory, indices, "cpu", variant=variant)
    padded = torch.full((2502, 270), torch.nan)
    padded[1:, 2:268] = memory
    spread = torch.stack([indices, indices], dim=1)[:, 0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = outcome(features, prototypes, memory, indices, "cpu", variant=variant)
    assert all(torch.equal(a, b) for a, b in zip(cast, plain, strict=True))
    got = outcome(features, prototypes, memory.T.contiguous().T, spread, "cpu", variant=variant)
    assert all(torch.equal(a, b) for a, b in zip(got, plain, strict=True))
    # BLAS may take another kernel for another distance of rows
    got = outcome(features, prototypes, padded[1:, 2:268], spread, "cpu", variant=variant)
    assert max(errors(got, [t.double() for t in plain])) <= 3e-6


@pytest.mark.parametrize("value", [2.0, 0.5, torch.nan, torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_row_of_another_norm_is_refused_and_named(products, dtype, value):
    arguments = inputs(4, 3, 5000, 20, dtype)
    arguments[2][4321] *= value
    with pytest.raises(InputError, match=r"memory must have rows of norm 1 or 0.*row 4321"):
        outcome(*arguments, "cpu", variant="paper")


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


def test_the_first_large_call_measures_on_its_own_arguments(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTBRAIN_CACHE", str(tmp_path))
    monkeypatch.setenv(_measured.VARIABLE, "1")
    monkeypatch.setattr(cpu, "_LEAST_WORK", 0)
    _measured.forget()
    arguments = inputs(17, 3, 601, 515)
    options = {"temperature": 0.05, "variant": "paper"}
    explained = explain("neighborhood_clustering", *arguments, **options)
    assert explained.how == "stream (by rule, until the first such call measures)"
    got = outcome(*arguments, "cpu", variant="paper")
    assert max(errors(got, truth(*arguments, variant="paper"))) <= 1e-5
    explained = explain("neighborhood_clustering", *arguments, **options)
    assert "measured here: stream" in explained.how
    _measured.forget()


ISA = """
from test_neighborhood_products import *
os.environ["FASTBRAIN_MEASURE"] = "products"
cpu.LEAST_WIDTH, cpu._LEAST_WORK = 1, 0
for variant in VARIANTS:
    for dtype in (torch.float32, torch.float64):
        arguments = inputs(36, 10, 1009, 300, dtype)
        unit = {torch.float32: 3e-6, torch.float64: 1e-12}[dtype]
        got = outcome(*arguments, "cpu", variant=variant)
        print(*(e / unit for e in errors(got, truth(*arguments, variant=variant))))
"""


@pytest.mark.parametrize("isa", OTHER_ISAS)
def test_instruction_sets(isa):
    ran = subprocess.run(
        [sys.executable, "-c", ISA],
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": HELPERS, "FASTBRAIN_ISA": isa},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert max(map(float, ran.stdout.split())) <= 1.0
