"""Rows and codes whose squares would underflow have the nearest code that they have enlarged."""

from __future__ import annotations

import pytest
import torch

from fastbrain.ops import pack_codebook, vq_lookup


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("backend", [None, "reference"], ids=str)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(
    ("dtype", "power"),
    [
        (torch.float32, -50),
        (torch.float32, -83),
        (torch.bfloat16, -110),
        (torch.float64, -560),
        (torch.float64, -960),
    ],
    ids=str,
)
def test_a_power_of_two_changes_no_index(dtype, power, metric, backend, packed):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(307, 9, generator=generator).to(dtype)
    rows = torch.randn(65, 9, generator=generator).to(dtype)
    expected = vq_lookup(rows, codes, metric=metric, backend="reference")
    rows, codes = rows * 2.0**power, codes * 2.0**power
    book = pack_codebook(codes, metric=metric) if packed else codes
    assert torch.equal(vq_lookup(rows, book, metric=metric, backend=backend), expected)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_zero_rows_and_codes_have_the_first_index(metric):
    zero = torch.zeros(3, 4)
    assert vq_lookup(zero, zero, metric=metric).tolist() == [0, 0, 0]
