"""The nearest code and the sums of an update in float64 by the C++ kernels."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import seeded
import torch
import torch.nn.functional as F
from processors import MOST, other_isas, printed_with, slow

from fastbrain import ops
from fastbrain.ops import VQState, pack_codebook, vq_init, vq_lookup, vq_update_

normal = partial(seeded.normal, dtype=torch.float64)
# of squared distances, in units of the squares that are added: rounding of float64
ROUNDING = 1e-13
WIDTHS = (1, 8, 9, 64, 257)
# whole tiles and panels of every instruction set, and beside them
ROWS = (0, 1, 3, 7, 13, 14, 15, 29, 300)
CODES = (1, 3, 15, 16, 17, 600)


def check(x, codebook, metric="euclidean"):
    """What is found is nearest up to the rounding of float64; packed codes give the same."""
    found = vq_lookup(x, codebook, metric=metric, backend="cpu")
    packed = pack_codebook(codebook, metric=metric)
    assert torch.equal(vq_lookup(x, packed, metric=metric, backend="cpu"), found)
    if metric == "cosine":
        x, codebook = F.normalize(x, dim=1), F.normalize(codebook, dim=1)
    distances = (x[:, None] - codebook[None]).square().sum(-1)
    further = distances.gather(1, found[:, None])[:, 0] - distances.amin(1)
    size = x.square().sum(1) + codebook.square().sum(1).max()
    assert (further <= ROUNDING * size).all()
    return found


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_size_finds_the_nearest_code(width, codes, metric):
    codebook = normal(codes, width, seed=1)
    for rows in ROWS:
        check(normal(rows, width), codebook, metric)


def test_distances_too_close_for_float32_are_told_apart():
    codebook = 1 + torch.arange(64, dtype=torch.float64)[:, None] * 1e-10 * torch.ones(64, 8)
    x = codebook[torch.arange(500) % 64]
    # centred, so that the squares of the codes do not drown the distances
    found = vq_lookup(x - 1, codebook - 1, backend="cpu")
    assert torch.equal(found, torch.arange(500) % 64)


@pytest.mark.parametrize("rows", [1, 5, 100, 300])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_lowest_of_equal_codes_wins_wherever_they_stand(rows, metric):
    codebook = normal(37, 19)[torch.arange(37 * 21) % 37]
    assert int(check(normal(rows, 19, seed=2), codebook, metric).max()) < 37


def test_threads_views_and_masks(threads):
    x, codebook = normal(2100, 70), normal(1031, 35, seed=1)
    found = vq_lookup(x[:, ::2].contiguous(), codebook, backend="cpu")
    mask = normal(2100) > 0
    masked = torch.where(mask[:, None], x[:, ::2], torch.nan)
    for count in (1, 2, 3):
        threads(count)
        view = codebook.T.contiguous().T
        assert torch.equal(vq_lookup(x[:, ::2], view, backend="cpu"), found)
        got = vq_lookup(masked, codebook, mask=mask, backend="cpu")
        assert torch.equal(got, torch.where(mask, found, -1))


def test_the_kernel_is_chosen_and_says_which():
    x, codebook = normal(9, 5), normal(7, 5)
    assert ops.explain("vq_lookup", x, pack_codebook(codebook)).chosen == "cpu"
    assert pack_codebook(codebook).panels.dtype == torch.float64
    state = VQState.from_codebook(codebook)
    indices = vq_lookup(x, codebook)
    assert ops.explain("vq_update_", state, x, indices, decay=0.5).chosen == "cpu"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_update_adds_in_the_precision_of_the_rows(dtype):
    x, mask = normal(333, 35), normal(333) > 0
    indices = torch.randint(-1, 7, (333,), generator=torch.Generator().manual_seed(0))
    counts, sums = torch.ops.fastbrain.vq_update_cpu(x.to(dtype), indices, mask, 7)
    expected = torch.zeros(7, 35, dtype=dtype)
    for row in mask.nonzero()[:, 0].tolist():
        if indices[row] >= 0:
            expected[indices[row]] += x[row].to(dtype)
    assert torch.equal(sums, expected)
    assert torch.equal(counts, torch.bincount(indices[mask & (indices >= 0)], minlength=7))
    # a state of another precision is moved by the same sums
    for precision in (torch.float32, torch.float64):
        state = VQState.from_codebook(torch.zeros(7, 35, dtype=precision))
        vq_update_(state, x.to(dtype), indices, decay=0.0, mask=mask)
        torch.testing.assert_close(state.total, expected.to(precision))


def test_k_means_in_float64():
    x = torch.cat([normal(40, 6) * 1e-3 + centre for centre in torch.eye(6, dtype=torch.float64)])
    options = {"iterations": 20}
    found = vq_init(x, 12, **options, generator=torch.Generator().manual_seed(3))
    with ops.backend("reference"):
        plain = vq_init(x, 12, **options, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(found.codebook, plain.codebook, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("euclidean", [True, False])
def test_registered_operators_keep_their_schema(euclidean):
    operators, x, codebook = torch.ops.fastbrain, normal(9, 5), normal(7, 5)
    mask, indices = normal(9) > 0, torch.ones(9, dtype=torch.int64)
    for codes in (codebook, operators.vq_pack_cpu(codebook, euclidean), codebook.T.contiguous().T):
        torch.library.opcheck(operators.vq_lookup_cpu.default, (x, mask, codes, euclidean, 7))
    torch.library.opcheck(operators.vq_pack_cpu.default, (codebook, euclidean))
    torch.library.opcheck(operators.vq_update_cpu.default, (x, indices, mask, 7))


OF_AN_ISA = """
from test_vq_double import *
torch.set_num_threads(1)
for width in (1, 9, 64):
    for codes in (3, 17, 600):
        for rows in ROWS:
            check(normal(rows, width), normal(codes, width, seed=1))
print("checked")
"""


# products of bytes, for which the lookup is compiled too, screen float32 alone
@pytest.mark.parametrize("isa", slow(other_isas(MOST)))
def test_instruction_sets(isa):
    assert printed_with(isa, OF_AN_ISA, Path(__file__).parent) == "checked\n"
