"""A codebook that comes again is packed, and an edit that its version does not tell is noticed."""

from __future__ import annotations

import gc
import multiprocessing
import os
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from seeded import normal

import fastbrain as fb
from fastbrain import _native
from fastbrain.ops import _dispatch, vq_lookup
from fastbrain.ops.vq import cpu, quick
from fastbrain.ops.vq.packs import PACKS, Packs

ROWS = quick.FEWEST_PACKED


def exact(x, codes):
    return torch.cdist(x.double(), codes.double()).argmin(1)


@pytest.fixture(autouse=True)
def _empty():
    PACKS.clear()
    yield
    PACKS.clear()


@pytest.fixture
def packings(monkeypatch):
    """Codebooks packed so far."""
    made, pack = [], cpu.pack
    monkeypatch.setattr(cpu, "pack", lambda codes, metric: made.append(1) or pack(codes, metric))
    return made


def test_the_second_sight_packs_and_later_ones_use_it(packings):
    x, codes = normal(ROWS, 16), normal(600, 16, seed=1)
    for sight, expected in enumerate((0, 1, 1, 1)):
        assert torch.equal(vq_lookup(x, codes), exact(x, codes)), sight
        assert len(packings) == expected
    # a view of all codes has the same memory and version
    assert torch.equal(vq_lookup(x, codes.detach()), exact(x, codes))
    assert len(packings) == 1


def test_a_codebook_that_changes_at_each_step_is_never_packed(packings):
    x, codes = normal(ROWS, 16), normal(600, 16, seed=1)
    for step in range(9):
        codes.add_(normal(600, 16, seed=step))
        assert torch.equal(vq_lookup(x, codes), exact(x, codes))
    assert not packings


def test_fewer_rows_than_pay_leave_no_trace():
    codes = normal(600, 16)
    for _ in range(3):
        vq_lookup(normal(ROWS - 1, 16), codes)
    assert PACKS.held_bytes() == 0
    for _ in range(2):
        vq_lookup(normal(ROWS, 16), codes)
    assert PACKS.held_bytes() > 0


def by_data(codes, new):
    codes.data.copy_(new)


def by_numpy(codes, new):
    codes.numpy()[...] = new.numpy()


def by_one_bit(codes, _new):
    codes.numpy().view("int32")[-1, -1] ^= 1


def by_signs(codes, _new):
    codes.numpy()[...] *= -1


def by_exchange(codes, _new):
    values = codes.numpy()
    values[[0, -1]] = values[[-1, 0]]


@pytest.mark.parametrize("edit", [by_data, by_numpy, by_one_bit, by_signs, by_exchange])
@pytest.mark.parametrize("inference", [False, True])
def test_an_edit_past_the_version_is_noticed(edit, inference):
    with torch.inference_mode(inference):
        codes = normal(600, 16, seed=1).clone()
        for turn in range(4):
            for _ in range(3):
                x = codes[torch.arange(0, 600, 7)] + 1e-3
                assert torch.equal(vq_lookup(x, codes), exact(x, codes))
            before = cpu.digest(codes)
            edit(codes, normal(600, 16, seed=10 + turn))
            assert cpu.digest(codes) != before


def test_edits_at_each_step_cost_ever_fewer_digests(packings, monkeypatch):
    taken, digest = [], cpu.digest
    monkeypatch.setattr(cpu, "digest", lambda codes: taken.append(1) or digest(codes))
    x, codes = normal(ROWS, 16), normal(600, 16, seed=1)
    for step in range(100):
        codes.data.copy_(normal(600, 16, seed=step))
        assert torch.equal(vq_lookup(x, codes), exact(x, codes))
    # waits of 1, 2, 4 ... sights
    assert len(taken) <= 10
    assert len(packings) == 1


def test_another_codebook_in_freed_memory_is_another():
    memory = torch.empty(600 * 16)
    x = normal(64, 16)
    for seed in range(20):
        codes = memory.view(600, 16)
        codes.numpy()[...] = normal(600, 16, seed=seed).numpy()
        del codes
        codes = torch.from_numpy(memory.numpy()).view(600, 16)  # a new tensor, version 0
        for _ in range(3):
            assert torch.equal(vq_lookup(x, codes), exact(x, codes))


def test_no_tensor_of_the_caller_is_kept():
    x, codes = normal(64, 16), normal(600, 16, seed=1)
    for _ in range(3):
        vq_lookup(x, codes)
    assert PACKS.held_bytes() > 0
    gone = weakref.ref(codes)
    del codes
    gc.collect()
    assert gone() is None


def test_the_least_recently_used_goes_when_the_bytes_are_spent():
    books = [normal(600, 16, seed=s) for s in range(4)]
    one = 4 * cpu.packed_numbers(books[0])
    packs = Packs(3 * one)
    for book in books:
        assert packs.of(book, "euclidean") is None
    for book in (0, 1, 2, 0, 3):
        assert packs.of(books[book], "euclidean") is not None
    assert packs.held_bytes() == 3 * one
    # forgotten: its next sight is its first
    assert packs.of(books[1], "euclidean") is None
    assert packs.of(books[0], "euclidean") is not None
    small = Packs(one - 1)
    assert [small.of(books[0], "euclidean") for _ in range(3)] == [None] * 3


def test_metrics_have_packs_of_their_own():
    x, codes = normal(64, 16), normal(600, 16, seed=1) * torch.arange(1, 601)[:, None]
    for _ in range(3):
        for metric in ("euclidean", "cosine"):
            expected = vq_lookup(x, codes, metric=metric, backend="reference")
            assert torch.equal(vq_lookup(x, codes, metric=metric), expected)


def test_threads_share_the_packs_while_codes_change():
    x, books = normal(64, 16), [normal(600, 16, seed=s).clone() for s in range(6)]

    def work(own):
        codes, wrong = books[own], []
        for step in range(60):
            shared = books[4 + step % 2]
            if not torch.equal(vq_lookup(x, shared), exact(x, shared)):
                wrong.append(step)
            if step % 5 == 0:
                codes.data.copy_(normal(600, 16, seed=100 * own + step))
            if not torch.equal(vq_lookup(x, codes), exact(x, codes)):
                wrong.append(step)
        return wrong

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [[]] * 4


def _in_child(queue, x, codes):
    torch.set_num_threads(1)
    queue.put([vq_lookup(x, codes).tolist() for _ in range(3)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_starts_with_no_packs_and_a_free_lock():
    context = multiprocessing.get_context("fork")
    x, codes = normal(64, 16), normal(600, 16, seed=1)
    expected = [vq_lookup(x, codes).tolist() for _ in range(3)]
    queue = context.SimpleQueue()
    with PACKS._lock:
        child = context.Process(target=_in_child, args=(queue, x, codes))
        child.start()
    assert queue.get() == expected
    child.join()


def test_the_observer_and_requested_backends_see_short_calls():
    x, codes = normal(64, 16), normal(600, 16, seed=1)
    for _ in range(3):
        with _dispatch.observed() as calls:
            vq_lookup(x, codes)
        assert calls == [("vq_lookup", "cpu")]
    with _dispatch.observed() as calls, fb.backend("reference"):
        vq_lookup(x, codes)
    assert calls == [("vq_lookup", "reference")]


def digest_of(values):
    return _native.vq_digest(bytes=values.data_ptr(), count=values.numel(), threads=1)


@pytest.mark.parametrize("count", [1, 63, 511, 512, 513, (128 << 10) - 1, (128 << 10) + 7, 300_000])
def test_any_bit_of_any_byte_changes_the_digest(count):
    generator = torch.Generator().manual_seed(count)
    values = torch.randint(0, 256, (count,), generator=generator, dtype=torch.uint8)
    base, seen = digest_of(values), set()
    for at in {0, 1, count // 2, count - 1} & set(range(count)):
        for bit in range(8):
            changed = values.clone()
            changed[at] ^= 1 << bit
            seen.add(digest_of(changed))
    assert base not in seen
    assert len(seen) == 8 * len({0, 1, count // 2, count - 1} & set(range(count)))
    assert digest_of(values[:-1]) != base
    for threads in (2, 7):
        assert _native.vq_digest(bytes=values.data_ptr(), count=count, threads=threads) == base
