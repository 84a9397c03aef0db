"""Neighbourhood clustering in the precision of bfloat16 tensors: error, masks, refusals, choice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from processors import OTHER_ISAS

from fastbrain.errors import InputError
from fastbrain.ops import _measured, explain, neighborhood_clustering
from fastbrain.ops.neighborhood import autograd, checks, cpu, products, rounded

# a child imports this module, and what this module imports
HERE = Path(__file__).parent
HELPERS = str(HERE.parent / "helpers")

VARIANTS = ["paper", "dance"]
# (samples, classes, rows, width): odd sizes, one sample, a part of rows, several blocks
SHAPES = [(1, 2, 3, 5), (36, 10, 1009, 300), (17, 3, 601, 515), (130, 7, 2100, 257)]
BFLOAT16 = torch.bfloat16
# of the reference's own error in this dtype
LIMIT = 1.25
DRAWS = 6


@pytest.fixture
def rounds(monkeypatch):
    """Take the way for any shape, with blocks of as few rows as there may be."""
    monkeypatch.setenv(_measured.VARIABLE, "rounded")
    monkeypatch.setattr(cpu, "LEAST_WIDTH", 1)
    monkeypatch.setattr(cpu, "_LEAST_WORK", 0)
    monkeypatch.setattr(rounded, "_BLOCK", 1)
    monkeypatch.setattr(products, "MULTIPLIES_BFLOAT16", True)


def inputs(batch, classes, size, width, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def unit(rows):
        drawn = torch.randn(rows, width, generator=generator, dtype=torch.float64)
        return F.normalize(drawn, dim=1).to(BFLOAT16)

    indices = torch.randperm(size, generator=generator)[:batch]
    return unit(batch).requires_grad_(), unit(classes).requires_grad_(), unit(size), indices


def outcome(*arguments, **options):
    options = {"temperature": 0.05, "backend": "cpu", **options}
    value = neighborhood_clustering(*arguments, **options)
    return [value.detach(), *torch.autograd.grad(value, arguments[:2])]


def eager(features, prototypes, memory, indices, variant, temperature=0.05):
    """The loss as PyTorch makes it of such tensors: products and logits in their dtype."""
    dance = variant == "dance"
    blocks = [features @ memory.T, features @ prototypes.T]
    scores = torch.cat([*blocks, features @ features.T] if dance else blocks, dim=1) / temperature
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    hidden = torch.zeros_like(scores, dtype=torch.bool)
    batch = len(features)
    hidden[:, : len(memory)] = (memory == 0).all(dim=1)
    if dance:
        hidden[:, indices] = True
        hidden[:, -batch:] |= torch.eye(batch, dtype=torch.bool)
        p = scores.masked_fill(hidden, float("-inf")).softmax(dim=1)
        value = -(p * torch.log(p + autograd.DANCE_EPS)).sum() / batch
    else:
        hidden[torch.arange(batch), indices] = True
        log_p = scores.masked_fill(hidden, float("-inf")).log_softmax(dim=1)
        value = -(log_p.exp() * log_p.clamp_min(-1e30)).sum() / batch
    return [value.detach(), *torch.autograd.grad(value, (features, prototypes))]


def errors(got, expected):
    return [float((g.double() - t).norm() / t.norm()) for g, t in zip(got, expected, strict=True)]


def excess(shape, variant, edit=lambda features, memory, indices: None):
    """Return our root mean square errors over those of eager PyTorch, against float64.

    A single draw may be right by chance, above all the loss, which is one number.
    """
    total = torch.zeros(2, 3)
    for seed in range(DRAWS):
        arguments = inputs(*shape, seed)
        edit(arguments[0].detach(), *arguments[2:])
        wide = [t.detach().double().requires_grad_() for t in arguments[:2]]
        truth = eager(*wide, arguments[2].double(), arguments[3], variant)
        plain = eager(*arguments, variant)
        for row, got in enumerate((outcome(*arguments, variant=variant), plain)):
            total[row] += torch.tensor(errors(got, truth)).square()
    return (total[0] / total[1]).sqrt().max()


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
def test_threads_views_and_autocast_do_not_change_a_bit(rounds, variant):
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


def test_only_tensors_that_are_all_bfloat16_are_rounded(rounds):
    arguments = inputs(36, 10, 2100, 300)

    def how(*arguments):
        options = {"temperature": 0.05, "variant": "paper"}
        return explain("neighborhood_clustering", *arguments, **options).how.split(" ")[0]

    assert how(*arguments) == "rounded"
    for changed in range(3):
        mixed = [t.float() if i == changed else t for i, t in enumerate(arguments)]
        assert how(*mixed) == "stream"
    products.MULTIPLIES_BFLOAT16 = False
    assert how(*arguments) == "stream"


def test_the_first_large_call_measures_all_three_ways(rounds, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTBRAIN_CACHE", str(tmp_path))
    monkeypatch.setenv(_measured.VARIABLE, "1")
    _measured.forget()
    outcome(*inputs(36, 10, 1009, 300), variant="paper")
    (times,) = _measured.report()["seconds"].values()
    assert set(times) == {"stream", "products", "rounded"}
    _measured.forget()


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


ISA = """
from test_neighborhood_rounded import *
os.environ["FASTBRAIN_MEASURE"] = "rounded"
cpu.LEAST_WIDTH, cpu._LEAST_WORK, products.MULTIPLIES_BFLOAT16 = 1, 0, True
for variant in VARIANTS:
    print(float(excess((36, 10, 1009, 300), variant)))
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
    assert max(map(float, ran.stdout.split())) <= LIMIT
