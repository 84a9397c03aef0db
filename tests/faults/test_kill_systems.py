"""Kill -9 while a system saves its model or its training loses at most that save."""

from __future__ import annotations

import kill_cases
import pytest

# benchmarks/systems/kills.py has the large numbers
SAVES, TRAININGS = 12, 3


@pytest.fixture(scope="module")
def run():
    with kill_cases.server() as run:
        yield run


@pytest.mark.slow
@pytest.mark.parametrize("system", kill_cases.STAGES)
def test_a_killed_save_leaves_a_whole_model_and_nothing_after_the_next_start(system, run, tmp_path):
    torn = kill_cases.kill_saves(run, system, tmp_path, SAVES)
    # the kills did fall inside saves
    assert torn >= SAVES // 4


@pytest.mark.slow
@pytest.mark.parametrize("system", ["brainllm", "vqlm"])
def test_a_training_killed_in_a_save_goes_on_to_the_same_bits(system, run, tmp_path):
    kill_cases.kill_training(run, system, tmp_path, TRAININGS)
