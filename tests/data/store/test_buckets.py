"""Batches of one grid and one length: order, resuming, and windows of several kinds."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fastbrain.data import (
    WindowLoader,
    WindowSpec,
    plan_native_grids,
    split_by,
    write_collection,
)
from fastbrain.data.store.buckets import epoch_batches
from fastbrain.errors import CheckpointError, InputError
from fastbrain.training.prefetch import Prefetched


def generator(seed=0):
    return np.random.default_rng(seed)


def cut(order, ends):
    return np.split(order, ends[:-1])


@pytest.mark.parametrize("size", [1, 3, 4, 50])
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
def test_each_window_once_and_batches_of_one_kind(size, shuffled, drop_last):
    kinds = ["a"] * 11 + ["b"] * 4 + ["a"] * 6 + ["c"]
    order, ends = epoch_batches(
        kinds,
        batch_size=size,
        drop_last=drop_last,
        generator=generator() if shuffled else None,
    )
    batches = cut(order, ends) if len(ends) else []
    for batch in batches:
        assert len({kinds[i] for i in batch}) == 1
        assert len(batch) == size or (not drop_last and len(batch) < size)
    counts = Counter(order.tolist())
    assert max(counts.values(), default=1) == 1
    wanted = {k: n // size * size if drop_last else n for k, n in Counter(kinds).items()}
    assert Counter(kinds[i] for i in order) == Counter(wanted)


def test_one_kind_keeps_the_order_of_a_plain_loader():
    order, ends = epoch_batches(["a"] * 23, batch_size=5, drop_last=False, generator=generator(3))
    np.testing.assert_array_equal(order, generator(3).permutation(23))
    np.testing.assert_array_equal(ends, [5, 10, 15, 20, 23])


def test_batches_of_kinds_are_mixed_over_an_epoch():
    kinds = ["a"] * 100 + ["b"] * 100
    order, ends = epoch_batches(kinds, batch_size=5, drop_last=False, generator=generator())
    names = "".join(kinds[batch[0]] for batch in cut(order, ends))
    assert names.count("ab") + names.count("ba") > 5
    order, _ = epoch_batches(kinds, batch_size=5, drop_last=False, generator=None)
    np.testing.assert_array_equal(order, np.arange(200))


@pytest.fixture(scope="module")
def collection(write_two_grids, tmp_path_factory):
    """Two people on grids of their own."""
    root = tmp_path_factory.mktemp("collection")
    plan = plan_native_grids(
        write_two_grids(root / "cohort", runs=4),
        window=WindowSpec(4.0, 3),
        kernel=(2, 2, 3),
        high_pass_s=None,
        split=lambda t: split_by(t, "run", train=["01", "02"], val=["03"], test=["04"]),
    )
    return write_collection(plan, root / "all")


@pytest.fixture(scope="module")
def several_lengths(collection):
    """One store with windows of two and of three volumes."""
    store = collection.stores["sub-01"]
    trials = [replace(t, frames=2) if i % 3 else t for i, t in enumerate(store.trials)]
    return replace(store, trials=trials)


@pytest.fixture(params=["collection", "several_lengths"])
def store(request):
    return request.getfixturevalue(request.param)


def loader(store, **options):
    return WindowLoader(
        store, store.split.train, **{"batch_size": 5, "shuffle": True, "seed": 7, **options}
    )


def test_batches_hold_the_windows(store):
    made = loader(store)
    seen = []
    for batch in made:
        for row, name in zip(batch.voxels, batch.trial_ids, strict=True):
            np.testing.assert_array_equal(row.numpy(), store.window(name))
        grids = {store.grid_of(i) if hasattr(store, "stores") else "" for i in batch.trial_ids}
        assert grids == {batch.grid}
        seen += batch.trial_ids
    assert sorted(seen) == sorted(store.split.train)
    assert len(made) == len(list(made)) > len(seen) // 5


def stream(made):
    while True:
        yield from made


@pytest.mark.parametrize("k", [0, 1, 3, 7, 8, 11])
def test_resume_is_exact(store, k):
    expected = [b.trial_ids for b, _ in zip(stream(loader(store)), range(15), strict=False)]
    first = loader(store)
    source = stream(Prefetched(first))
    head = [next(source).trial_ids for _ in range(k)]
    source.close()  # what was read ahead is taken back
    state = json.loads(json.dumps(first.state_dict()))
    fresh = loader(store)
    fresh.load_state_dict(state)
    rest = [b.trial_ids for b, _ in zip(stream(fresh), range(15 - k), strict=False)]
    assert head + rest == expected


def test_states_of_other_windows_are_refused(collection):
    state = loader(collection).state_dict()
    with pytest.raises(CheckpointError, match="another trials"):
        loader(collection.stores["sub-01"]).load_state_dict(state)
    with pytest.raises(InputError, match=r"batch_size must be 1\.\.16, got 17"):
        loader(collection, batch_size=17, drop_last=True)
    with pytest.raises(InputError, match="name trials of the store"):
        WindowLoader(
            collection.stores["sub-01"], collection.split.train, batch_size=2, shuffle=True
        )
