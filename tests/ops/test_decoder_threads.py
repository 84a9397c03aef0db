"""The number of threads of a step follows its times."""

from __future__ import annotations

import pytest

from fastbrain.ops.decoder.threads import ThreadChoice


def _run(choice: ThreadChoice, seconds: dict[int, float], steps: int, size: int = 1) -> list[int]:
    chosen = []
    for _ in range(steps):
        chosen.append(choice.choose(size, 4))
        choice.record(size, chosen[-1], seconds[chosen[-1]])
    return chosen


@pytest.mark.parametrize("faster", [1, 4])
def test_the_faster_number_is_used_and_the_other_tried_again(faster):
    chosen = _run(ThreadChoice(), {faster: 1.0, 5 - faster: 2.0}, 130)
    assert set(chosen[:2]) == {1, 4}
    assert chosen[2:].count(5 - faster) == 4


def test_a_change_of_the_machine_is_noticed():
    choice = ThreadChoice()
    _run(choice, {1: 2.0, 4: 1.0}, 100)
    assert _run(choice, {1: 2.0, 4: 9.0}, 100)[-10:].count(1) >= 9
    assert _run(choice, {1: 9.0, 4: 1.0}, 200)[-10:].count(4) >= 9


def test_sizes_are_apart_and_one_thread_is_no_choice():
    choice = ThreadChoice()
    _run(choice, {1: 1.0, 4: 2.0}, 20, size=1)
    assert _run(choice, {1: 2.0, 4: 1.0}, 20, size=8)[5:] == [4] * 15
    assert choice.choose(1, 1) == 1
