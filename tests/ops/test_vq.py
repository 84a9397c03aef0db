"""Nearest codes and the running codebook."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded import normal

from fastbrain.errors import InputError
from fastbrain.ops import VQState, vq_lookup, vq_update_


@pytest.mark.parametrize(("rows", "codes", "width"), [(127, 101, 63), (1, 7, 1), (3, 1, 5)])
def test_finds_the_nearest_code(rows, codes, width):
    x, codebook = normal(rows, width), normal(codes, width, seed=1)
    distances = (x.double()[:, None] - codebook.double()[None]).square().sum(-1)
    assert torch.equal(vq_lookup(x, codebook), distances.argmin(1))


def test_cosine_ignores_length():
    x, codebook = normal(63, 17), normal(31, 17, seed=1)
    longer = codebook * torch.arange(1, 32)[:, None]
    expected = (F.normalize(x, dim=1) @ F.normalize(codebook, dim=1).T).argmax(1)
    assert torch.equal(vq_lookup(x, longer, metric="cosine"), expected)


@settings(deadline=None, max_examples=50)
@given(
    rows=st.integers(0, 40),
    codes=st.integers(1, 40),
    width=st.integers(1, 20),
    copies=st.integers(2, 4),
    seed=st.integers(0, 1000),
)
def test_the_lowest_of_equal_codes_wins(rows, codes, width, copies, seed):
    x, codebook = normal(rows, width, seed=seed), normal(codes, width, seed=seed + 1)
    order = torch.randperm(codes * copies, generator=torch.Generator().manual_seed(seed))
    repeated = codebook.repeat(copies, 1)[order]
    found = vq_lookup(x, repeated)
    for i in found.unique().tolist():
        assert i == int((repeated == repeated[i]).all(1).nonzero()[0])


def test_symmetric_codes_tie():
    assert (
        vq_lookup(torch.zeros(2, 3), torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])).eq(0).all()
    )


def test_large_offsets_do_not_hide_small_distances_from_the_reference():
    codebook = 1000 + torch.arange(8.0)[:, None] * 1e-2 * torch.ones(8, 64)
    found = vq_lookup(codebook.clone(), codebook, backend="reference")
    assert torch.equal(found, torch.arange(8))


def test_masked_rows_have_no_code():
    x, codebook = normal(2, 5, 7), normal(11, 7)
    mask = normal(2, 5) > 0
    found = vq_lookup(x, codebook, mask=mask)
    assert torch.equal(found, torch.where(mask, vq_lookup(x, codebook), -1))


def test_many_rows_are_split_without_a_seam():
    x, codebook = normal(5000, 3), normal(1024, 3)
    assert torch.equal(vq_lookup(x, codebook)[4090:4110], vq_lookup(x[4090:4110], codebook))


def textbook_update(state, x, indices, decay):
    hot = F.one_hot(indices, len(state.codebook)).double()
    count = decay * state.count.double() + (1 - decay) * hot.sum(0)
    total = decay * state.total.double() + (1 - decay) * hot.T @ x.double()
    n = count.sum()
    smooth = (count + 1e-5) / (n + len(count) * 1e-5) * n
    return total / smooth[:, None], count, total


def test_update_is_the_moving_average():
    x = normal(127, 17)
    state = VQState.from_codebook(normal(31, 17, seed=1))
    indices = vq_lookup(x, state.codebook)
    expected = textbook_update(state, x, indices, 0.9)
    vq_update_(state, x, indices, decay=0.9)
    for got, wanted in zip((state.codebook, state.count, state.total), expected, strict=True):
        torch.testing.assert_close(got, wanted.float(), rtol=1e-5, atol=1e-6)


def test_rows_without_a_code_are_left_out():
    x, mask = normal(2, 31, 5), normal(2, 31) > 0
    states = [VQState.from_codebook(normal(7, 5, seed=1)) for _ in range(3)]
    indices = vq_lookup(x, states[0].codebook)
    vq_update_(states[0], x, indices, decay=0.5, mask=mask)
    vq_update_(states[1], x, torch.where(mask, indices, -1), decay=0.5)
    vq_update_(states[2], x[mask], indices[mask], decay=0.5)
    for other in states[1:]:
        assert torch.equal(states[0].codebook, other.codebook)
        assert torch.equal(states[0].count, other.count)


def test_an_unused_code_keeps_its_place():
    state = VQState.from_codebook(normal(4, 5))
    before = state.codebook.clone()
    for _ in range(400):
        vq_update_(state, normal(8, 5, seed=2), torch.zeros(8, dtype=torch.int64), decay=0.9)
    assert state.codebook.isfinite().all()
    # smoothing moves a code by a hundredth before it is left alone
    torch.testing.assert_close(state.codebook[1:], before[1:], rtol=0.02, atol=0)


def test_zero_decay_is_the_mean_of_the_batch():
    x = normal(64, 3)
    state = VQState.from_codebook(normal(2, 3, seed=1))
    indices = vq_lookup(x, state.codebook)
    vq_update_(state, x, indices, decay=0.0)
    for code in range(2):
        torch.testing.assert_close(
            state.codebook[code], x[indices == code].mean(0), rtol=1e-4, atol=1e-5
        )


X, CODES = normal(9, 5), normal(7, 5)


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((X, CODES[:, 1:]), {}, "codebook must have shape"),
        ((X, CODES[:0]), {}, "codebook must hold a code"),
        ((X, CODES.double()), {}, "codebook must have the dtype of x"),
        ((X, CODES * math.nan), {}, "codebook must be finite"),
        ((X * math.inf, CODES), {}, "x must be finite"),
        ((X.long(), CODES), {}, "x must have dtype"),
        ((X, CODES.to("meta")), {}, "codebook must be on cpu"),
        ((X, CODES), {"metric": "dot"}, "metric must be"),
        ((X, CODES), {"mask": torch.ones(8, dtype=torch.bool)}, "mask must have shape"),
        ((X, CODES), {"mask": torch.ones(9)}, "mask must have dtype bool"),
    ],
)
def test_lookup_refuses_what_breaks_its_contract(args, options, message):
    with pytest.raises(InputError, match=message):
        vq_lookup(*args, **options)


INDICES = torch.zeros(9, dtype=torch.int64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": CODES}, "state must be a VQState"),
        ({"x": X[:, 1:]}, "codebook must have shape"),
        ({"indices": INDICES[1:]}, "indices must have shape"),
        ({"indices": INDICES + 7}, r"indices must be in \[-1, 7\)"),
        ({"indices": INDICES - 2}, r"indices must be in \[-1, 7\)"),
        ({"decay": 1.0}, "decay must be in"),
        ({"decay": math.nan}, "decay must be in"),
    ],
)
def test_update_refuses_what_breaks_its_contract(change, message):
    arguments = {"state": VQState.from_codebook(CODES), "x": X, "indices": INDICES, "decay": 0.9}
    with pytest.raises(InputError, match=message):
        vq_update_(**(arguments | change))
