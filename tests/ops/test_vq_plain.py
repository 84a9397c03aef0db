"""A few rows are searched in codes as they lie, with the index that packed codes give.

test_vq_native.py compares the same on every instruction set.
"""

from __future__ import annotations

import pytest
import torch
from seeded import normal

from fastbrain import _native
from fastbrain.errors import InputError
from fastbrain.ops import pack_codebook, vq_lookup
from fastbrain.ops.vq import quick

METRICS = ("euclidean", "cosine")
POWER = 50


def plain(x, codes, metric="euclidean", mask=None):
    found = _native.vq_arguments(x, codes, mask)
    return quick.plain(x, found, metric == "euclidean", POWER)


def check(x, codes, metric="euclidean"):
    expected = vq_lookup(x, pack_codebook(codes, metric=metric), metric=metric)
    found = plain(x, codes, metric)
    assert found is not None
    assert torch.equal(found, expected)
    assert torch.equal(vq_lookup(x, codes, metric=metric), expected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [3, 16, 33, 131])
def test_plain_codes_have_the_index_of_packed_ones(width, dtype, metric):
    for codes in (1, 17, 799):
        for rows in (1, 2, 5, quick.MOST_PLAIN):
            check(normal(rows, width).to(dtype), normal(codes, width, seed=1).to(dtype), metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_lowest_of_equal_codes_wins_with_any_number_of_threads(count, metric, threads):
    codes = normal(211, 65, seed=1)[torch.arange(211 * 20) % 211]
    threads(count)
    check(normal(37, 65), codes, metric)
    assert int(plain(normal(37, 65), codes, metric).max()) < 211


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_sizes_that_float32_can_square(scale, metric):
    check(normal(9, 33), scale * normal(700, 33, seed=1), metric)
    # where the codes are small beside a row, all are equally near to it: too many for bounds
    vq_lookup(normal(9, 33) * 1e10, scale * normal(700, 33, seed=1), metric=metric)


@pytest.mark.parametrize(
    "codes",
    [
        normal(1, 40) + 1e-6 * normal(600, 40, seed=1),
        normal(1, 40).expand(600, 40).contiguous(),
        torch.zeros(600, 40),
        normal(600, 40) * 1e-30,
        normal(600, 40) * 1e20,
        normal(600, 40).index_fill(0, torch.tensor([5]), 1e25),
        normal(600, 40).index_fill(0, torch.tensor([599]), 0),
    ],
    ids=["crowded", "equal", "zero", "tiny", "huge", "one huge", "one zero"],
)
@pytest.mark.parametrize("metric", METRICS)
def test_what_bounds_cannot_decide_is_left_to_the_full_checks(codes, metric):
    x = normal(21, 40)
    expected = vq_lookup(x, pack_codebook(codes, metric=metric), metric=metric)
    assert torch.equal(vq_lookup(x, codes, metric=metric), expected)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("place", [0, 17 * 33, -1])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_values_that_are_not_finite_are_refused(bad, place, metric, dtype):
    x, codes = normal(5, 33).to(dtype), normal(101, 33, seed=1).to(dtype)
    broken = codes.clone()
    broken.view(-1)[place] = bad
    with pytest.raises(InputError, match="codebook must be finite"):
        vq_lookup(x, broken, metric=metric)
    x[3, 2] = bad
    for book in (codes, pack_codebook(codes, metric=metric)):
        with pytest.raises(InputError, match="x must be finite"):
            vq_lookup(x, book, metric=metric)


def test_masked_rows_are_not_read():
    x, codes, mask = normal(3, 7, 33), normal(101, 33, seed=1), normal(3, 7) > 0
    expected = torch.where(mask, vq_lookup(x, codes), -1)
    x[~mask] = torch.nan
    assert torch.equal(plain(x, codes, mask=mask), expected)
    assert torch.equal(vq_lookup(x, codes, mask=mask), expected)
    assert vq_lookup(x, codes, mask=torch.zeros_like(mask)).eq(-1).all()
