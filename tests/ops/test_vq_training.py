"""The running codebook over several processes, its start by k-means, and its dead codes."""

from __future__ import annotations

import sys

import pytest
import torch
from seeded import normal

from fastbrain.errors import InputError
from fastbrain.ops import VQState, vq_init, vq_lookup, vq_replace_dead_, vq_update_


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def error(x, codebook):
    return float((x - codebook[vq_lookup(x, codebook)]).square().mean())


def clusters():
    """Ten clouds of fifty rows."""
    return (10 * normal(10, 1, 6) + normal(10, 50, 6)).reshape(-1, 6)


def test_kmeans_lowers_the_error_of_quantisation():
    x = clusters()
    errors = [
        error(x, vq_init(x, 20, iterations=n, generator=generator()).codebook) for n in (0, 1, 3, 9)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.8 * errors[0]


def test_kmeans_ends_at_the_mean_of_what_is_nearest():
    x = clusters()
    state = vq_init(x, 20, iterations=50, generator=generator())
    before = state.codebook.clone()
    indices = vq_lookup(x, state.codebook)
    torch.testing.assert_close(state.count, torch.bincount(indices, minlength=20).float())
    vq_update_(state, x, indices, decay=0.0)
    torch.testing.assert_close(state.codebook, before, rtol=1e-4, atol=1e-4)


def test_kmeans_repeats_itself_and_starts_from_distinct_unmasked_rows():
    x, mask = normal(5, 9, 3), normal(5, 9) > 0
    kept = x[mask]
    x[~mask] = torch.nan
    first, again = (vq_init(x, 11, generator=generator(), mask=mask) for _ in range(2))
    assert torch.equal(first.codebook, again.codebook)
    start = vq_init(x, len(kept), iterations=0, generator=generator(), mask=mask).codebook
    assert torch.equal(start.sort(dim=0).values, kept.sort(dim=0).values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_kmeans_of_any_precision(dtype):
    state = vq_init(normal(40, 3).to(dtype), 5, generator=generator())
    assert state.codebook.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert state.count.sum() == 40


def test_dead_codes_become_rows_and_the_others_stay():
    x, state = normal(50, 4), VQState.from_codebook(normal(9, 4, seed=1))
    state.count[[2, 5, 6]] = torch.tensor([0.0, 0.4, 0.5])
    before = state.codebook.clone()
    vq_replace_dead_(state, x, threshold=0.5, generator=generator())
    dead = torch.tensor([2, 5])
    alive = [0, 1, 3, 4, 6, 7, 8]
    assert torch.equal(state.codebook[alive], before[alive])
    picked = (state.codebook[dead, None] == x).all(-1).nonzero()[:, 1]
    assert picked.unique().numel() == 2
    assert torch.equal(state.count[dead], torch.full((2,), 0.5))
    assert torch.equal(state.total[dead], state.codebook[dead] * 0.5)


def test_rows_that_are_masked_or_too_few_replace_nothing():
    x, mask = normal(6, 4), torch.tensor([True, False, False, True, False, False])
    x[~mask] = torch.nan
    state = VQState.from_codebook(normal(9, 4, seed=1))
    state.count[3:] = 0
    before = state.codebook.clone()
    vq_replace_dead_(state, x, threshold=0.5, generator=generator(), mask=mask)
    assert torch.equal(state.codebook[3:5].sort(dim=0).values, x[mask].sort(dim=0).values)
    assert torch.equal(state.codebook[5:], before[5:])
    assert torch.equal(state.codebook[:3], before[:3])
    vq_replace_dead_(state, x[:0], threshold=0.5)
    assert torch.equal(state.codebook[5:], before[5:])


X, STATE = normal(9, 5), VQState.from_codebook(normal(7, 5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vq_init(X, 0), r"codes must be an int in \[1, 9\]"),
        (lambda: vq_init(X, 10), r"codes must be an int in \[1, 9\]"),
        (lambda: vq_init(X, 3, mask=X[:, 0] > 9), r"codes must be an int in \[1, 0\]"),
        (lambda: vq_init(X, 3, iterations=-1), "iterations must be"),
        (lambda: vq_init(X * torch.inf, 3), "x must be finite"),
        (lambda: vq_replace_dead_(X, X, threshold=1), "state must be a VQState"),
        (lambda: vq_replace_dead_(STATE, X[:, 1:], threshold=1), "codebook must have shape"),
        (lambda: vq_replace_dead_(STATE, X, threshold=-1), "threshold must be"),
        (lambda: vq_replace_dead_(STATE, X, threshold=float("nan")), "threshold must be"),
        (lambda: vq_replace_dead_(STATE, X, threshold=1, group=0), "group must be a ProcessGroup"),
        (
            lambda: vq_update_(STATE, X, vq_lookup(X, STATE.codebook), decay=0.5, group="all"),
            "group must be a ProcessGroup",
        ),
    ],
)
def test_refuses_what_breaks_the_contract(call, message):
    with pytest.raises(InputError, match=message):
        call()


WORKER = """
import sys
import torch
from torch import distributed as dist
from fastbrain.ops import VQState, vq_lookup, vq_replace_dead_, vq_update_
folder, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
everyone = dist.group.WORLD
x = torch.randn(4, 30, 7, generator=torch.Generator().manual_seed(0))
state = VQState.from_codebook(torch.randn(12, 7, generator=torch.Generator().manual_seed(1)))
for batch in x:
    rows = batch[rank * 13:][:13 + 4 * rank]
    vq_update_(state, rows, vq_lookup(rows, state.codebook), decay=0.7, group=everyone)
updated = [state.codebook.clone(), state.count.clone(), state.total.clone()]
generator = torch.Generator().manual_seed(rank)
vq_replace_dead_(state, rows, threshold=1.5, generator=generator, group=everyone)
torch.save([*updated, state.codebook, state.count, state.total], f"{folder}/{rank}.pt")
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_processes_keep_one_codebook(tmp_path, run_two):
    run_two(sys.executable, "-c", WORKER, str(tmp_path))
    first, second = (torch.load(tmp_path / f"{r}.pt", weights_only=True) for r in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))

    x, alone = normal_rows(), VQState.from_codebook(torch.randn(12, 7, generator=generator(1)))
    for batch in x:
        vq_update_(alone, batch, vq_lookup(batch, alone.codebook), decay=0.7)
    for got, wanted in zip(first, (alone.codebook, alone.count, alone.total), strict=False):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)

    # dead codes got the rows that one process would have drawn
    vq_replace_dead_(alone, x[-1], threshold=1.5, generator=generator(0))
    dead = (first[1] < 1.5).nonzero()[:, 0]
    assert len(dead) >= 4
    assert torch.equal(first[3][dead], alone.codebook[dead])
    rows = (first[3][dead, None] == x[-1]).all(-1).nonzero()[:, 1]
    assert rows.unique().numel() == len(dead)
    assert 0 < int((rows >= 13).sum()) < len(dead)


def normal_rows():
    return torch.randn(4, 30, 7, generator=generator())
