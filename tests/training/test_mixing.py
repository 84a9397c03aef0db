"""Several loaders in one training: shares, order, resume, and their rows in each process."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest

from fastbrain._shards import Part, Shard
from fastbrain.errors import CheckpointError, ConfigError
from fastbrain.training import MixedLoader, ResumableLoader


@dataclass(frozen=True)
class Rows:
    trial_ids: tuple[str, ...]
    shard: Shard | None = None


class Named(ResumableLoader[Rows]):
    def __init__(self, name: str, n: int, **options) -> None:
        super().__init__(batch_size=2, **options)
        self.name, self.n = name, n

    def _samples(self) -> int:
        return self.n

    def _batch(self, rows: list[int]) -> Rows:
        return Rows(tuple(f"{self.name}{i}" for i in rows))


def mixed(weights=(3, 1), **options):
    return MixedLoader([Named("a", 5), Named("b", 7)], weights, seed=4, **options)


def ids(batches):
    return [b.trial_ids for b in batches]


@pytest.mark.parametrize(
    ("weights", "batches", "shares"),
    [((1, 1), None, [4, 3]), ((3, 1), 8, [6, 2]), ((0.1, 0.2), 3, [1, 2]), ((1, 1), 5, [3, 2])],
)
def test_an_epoch_has_the_shares_of_its_weights(weights, batches, shares):
    loader = mixed(weights, batches=batches)
    assert loader.shares() == shares
    for _ in range(2):
        found = Counter(i[0][0] for i in ids(loader))
        assert [found["a"], found["b"]] == shares


def test_every_window_comes_before_one_comes_again():
    loader = mixed((1, 1), batches=4)
    seen = [i for _ in range(2) for batch in ids(loader) for i in batch]
    # 4 batches of b in two epochs: all of its 7 windows once
    assert sorted(i for i in seen if i[0] == "b") == [f"b{i}" for i in range(7)]


@pytest.mark.parametrize("cut", [1, 4, 6])
def test_it_goes_on_where_it_was(cut):
    whole = mixed()
    expected = [*ids(whole), *ids(whole)]
    first = mixed()
    batches, found = iter(first), []
    for _ in range(cut):
        found.append(next(batches).trial_ids)
    again = mixed()
    again.load_state_dict(first.state_dict())
    assert [*found, *ids(again), *ids(again)] == expected


def test_processes_divide_each_batch():
    whole, parts = ids(mixed()), []
    for rank in range(2):
        loader = mixed()
        loader.divide(Part(rank, 2))
        parts.append(list(loader))
    for joined, one, other in zip(whole, *parts, strict=True):
        rows = [b.trial_ids[: b.shard.rows] for b in (one, other)]
        assert rows[0] + rows[1] == joined
        # a process without a row has one of the others', with weight zero
        assert len(one.trial_ids) == len(other.trial_ids) == 1
        assert one.shard.total == len(joined)


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(ConfigError, match="positive number for each of 2"):
        mixed((1,))
    with pytest.raises(ConfigError, match="positive number"):
        mixed((1, float("nan")))
    with pytest.raises(ConfigError, match=r"shares of \[5, 0\]"):
        mixed((100, 1), batches=5)
    with pytest.raises(CheckpointError, match="two counts and 2 states"):
        mixed().load_state_dict({"epoch": 0, "position": 0, "loaders": []})
