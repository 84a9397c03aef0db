"""The order in which contestants are timed."""

from __future__ import annotations

from fastbrain.bench.timing import interleaved

NAMES = ["ours", "theirs", "plain"]


def orders_of(rounds, **options):
    """The names of each round in the order of the calls."""
    called = []
    functions = {name: lambda name=name: called.append(name) for name in NAMES}
    seconds = interleaved(functions, rounds=rounds, warmup=0, **options)
    assert {name: len(times) for name, times in seconds.items()} == dict.fromkeys(NAMES, rounds)
    return [tuple(called[at : at + len(NAMES)]) for at in range(0, len(called), len(NAMES))]


def test_each_round_has_each_contestant_once_in_an_order_of_its_own():
    orders = orders_of(60)
    assert all(sorted(order) == sorted(NAMES) for order in orders)
    # chance that one of the six orders is missing: 6 (5/6)^60 = 1e-4, and the seed is fixed
    assert len(set(orders)) == 6


def test_a_seed_gives_the_same_orders_again_and_another_one_others():
    assert orders_of(20, seed=7) == orders_of(20, seed=7)
    assert orders_of(20, seed=7) != orders_of(20, seed=8)


def test_calls_before_the_first_round_are_heard_but_not_timed():
    heard = []
    seconds = interleaved(
        {name: lambda: None for name in NAMES}, rounds=1, warmup=2, watch=heard.append
    )
    assert heard[:6] == [name for name in NAMES for _ in range(2)]
    assert sorted(heard[6:]) == sorted(NAMES)
    assert all(len(times) == 1 for times in seconds.values())
