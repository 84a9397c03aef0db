"""The nearest code by bytes first: bit for bit what float32 alone finds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from seeded import normal

from fastbrain import _native
from fastbrain.ops import pack_codebook, vq_lookup

pytestmark = pytest.mark.skipif(
    _native.isa() not in ("avx512vnni", "avx512bf16", "avx512amx"),
    reason="this machine has no products of bytes (AVX-512 VNNI)",
)

# a codebook that is not packed is screened from so many rows on, and only one of so many codes
FEWEST_ROWS, FEWEST_CODES = 65, 512
BINDINGS = Path(__file__).parents[2] / "csrc" / "bind_vq.cpp"


def unscreened(x, codebook, **options):
    parts = x.split(FEWEST_ROWS - 1)
    return torch.cat([vq_lookup(part, codebook, backend="cpu", **options) for part in parts])


def check(x, codebook, **options):
    expected = unscreened(x, codebook, **options)
    packed = pack_codebook(codebook, metric=options.get("metric", "euclidean"))
    for rows in (1, 3, 14, 57, len(x)):
        found = vq_lookup(x[:rows], packed, backend="cpu", **options)
        assert torch.equal(found, expected[:rows])
    assert torch.equal(vq_lookup(x, codebook, backend="cpu", **options), expected)
    return expected


def test_the_limits_are_those_of_the_extension():
    """Otherwise both sides of every comparison here might be screened, or neither."""
    source = BINDINGS.read_text()
    assert re.search(r"kFewestRows = (\d+)", source)[1] == str(FEWEST_ROWS)
    assert re.search(r"kFewestCodes = (\d+)", source)[1] == str(FEWEST_CODES)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("width", [16, 17, 63, 64, 131, 257, 512])
def test_every_width(width, metric):
    for codes in (FEWEST_CODES, FEWEST_CODES + 1, 1999):
        check(normal(301, width), normal(codes, width, seed=1), metric=metric)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    check(normal(301, 48).to(dtype), normal(777, 48, seed=1).to(dtype))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_threads(count, threads):
    threads(count)
    check(normal(1000, 32), normal(3001, 32, seed=1))


def one_far_code(codebook):
    """A scale at which the bytes of all others are zero."""
    codebook[7] *= 1e6
    return codebook


def crowded(codebook):
    """Codes closer to each other than bytes can tell."""
    return codebook[:1] + 1e-4 * codebook


def crowds(codebook):
    """Some rows are decided by bytes, others have too many survivors."""
    codebook[:300] = codebook[:1] + 1e-5 * codebook[:300]
    return codebook


def equal(codebook):
    return codebook[torch.arange(len(codebook)) % 5]


HARD = {
    "one far code": one_far_code,
    "crowded": crowded,
    "crowds": crowds,
    "equal": equal,
    "all zero": lambda codes: codes * 0,
    "tiny": lambda codes: codes * 1e-25,
    "below the normal range": lambda codes: codes * 1e-40,
    "large": lambda codes: codes * 1e17,
    "squares overflow": lambda codes: codes * 1e20,
    "far from zero": lambda codes: codes + 100,
    "sparse": lambda codes: codes * (codes.abs() > 2),
}


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("name", HARD)
def test_hard_codebooks(name, metric):
    codebook = HARD[name](normal(1300, 40, seed=1))
    near = codebook[torch.arange(200) * 5] + codebook.abs().mean() * normal(200, 40, seed=3) / 10
    rows = torch.cat([normal(300, 40), normal(60, 40) * 1e-6, codebook[:60], near])
    rows[11] = 0
    if name == "squares overflow":
        rows *= 1e17
        # float32 has no finite score here: which code wins means nothing, that one does is enough
        found = vq_lookup(rows, pack_codebook(codebook, metric=metric), metric=metric)
        assert ((found >= 0) & (found < 1300)).all()
        return
    check(rows, codebook, metric=metric)


def test_masked_rows_are_never_read():
    x, codebook = normal(500, 33), normal(600, 33, seed=1)
    mask = normal(500) > 0
    expected = torch.where(mask, unscreened(x, codebook), -1)
    x[~mask] = torch.nan
    assert torch.equal(vq_lookup(x, codebook, mask=mask), expected)
    assert torch.equal(vq_lookup(x, pack_codebook(codebook), mask=mask), expected)
