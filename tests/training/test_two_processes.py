"""Two processes train every stage of every system as one does with the joined batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import process_cases
import pytest
import torch
from same_training import assert_same_tensors, without_timing
from torch import distributed as dist

from fastbrain.errors import ConfigError
from fastbrain.training import latest_checkpoint, load_checkpoint
from fastbrain.training.joining import join, join_limit_s

CASES = list(process_cases.CASES)
# float32, added up in another order
CLOSE = {"rtol": 1e-4, "atol": 1e-6}
ROWS = {"rel": 1e-5, "abs": 1e-6}
# Adam steps by its rate also where a gradient is only rounding
SIGNIFICANT = 1e-5
# a lost process is noticed within a second; the rest is for a busy machine
SOON_S = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen]:
    with subprocess.Popen(
        [sys.executable, process_cases.__file__],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        yield server
        server.stdin.close()


@pytest.fixture(scope="module")
def pair(server):
    """Runs cases in two processes; returns how they ended, and after how long."""

    def run(folder, *cases, **options):
        server.stdin.write(json.dumps({"folder": str(folder), "cases": cases, **options}) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    return run


def log(folder: Path, rank: int) -> str:
    return (folder / f"log-{rank}.txt").read_text()


@pytest.fixture(scope="module")
def folder(shared_by_workers, pair) -> Path:
    """What two processes ended with."""

    def train(folder: Path) -> Path:
        assert pair(folder, *CASES)["codes"] == [0, 0], log(folder, 0) + log(folder, 1)
        return folder

    return shared_by_workers("two-processes", train)


def numbers(rows):
    return [{k: v for k, v in row.items() if k != "stage"} for row in without_timing(rows)]


def ended(folder, case):
    return load_checkpoint(latest_checkpoint(folder / case))


def assert_equal_up_to_rounding(one, both):
    for name, moment in one.optimizer.items():
        torch.testing.assert_close(both.optimizer[name], moment, **CLOSE)
    assert both.model.keys() == one.model.keys()
    for name, value in one.model.items():
        moment = one.optimizer.get(f"{name}/exp_avg")
        real = ... if moment is None else moment.abs() > SIGNIFICANT
        torch.testing.assert_close(both.model[name][real], value[real], **CLOSE)
    # random numbers are those of the joined batch, so that one process could go on from here
    for name, state in one.rng.items():
        assert torch.equal(both.rng[name], state), name
    assert both.state["loader"] == one.state["loader"]


def assert_equal(one, other):
    for kind in ("model", "optimizer", "rng"):
        assert_same_tensors(getattr(one, kind), getattr(other, kind))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one_with_the_joined_batch(case, folder, tmp_path):
    rows = numbers(process_cases.train(tmp_path, case).rows)
    for rank in range(2):
        found = numbers(json.loads((folder / f"{case}-{rank}.json").read_text()))
        for got, wanted in zip(found, rows, strict=True):
            assert got == pytest.approx(wanted, **ROWS)
    assert_equal_up_to_rounding(ended(tmp_path, case), ended(folder, case))


@pytest.mark.slow
def test_a_run_goes_on_in_as_many_processes_bitwise_and_in_others(pair, folder, tmp_path):
    case = "stage2"
    for name in ("same", "other"):
        (tmp_path / name).mkdir()
        done = pair(tmp_path / name, case, stop=True)
        assert done["codes"] == [1, 1]
        # the process that raised is named by the other
        assert "stopped by the test" in log(tmp_path / name, 0)
        assert "rank 0" in log(tmp_path / name, 1)
        assert "stopped by the test" in log(tmp_path / name, 1)
    assert pair(tmp_path / "same", case, resume=True)["codes"] == [0, 0]
    assert_equal(ended(folder, case), ended(tmp_path / "same", case))
    process_cases.train(tmp_path / "other", case, resume=True)
    assert_equal_up_to_rounding(ended(folder, case), ended(tmp_path / "other", case))


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "kept"), [(0, False), (1, False), (0, True)])
def test_a_killed_process_is_named_and_the_run_goes_on_after_it(rank, kept, pair, folder, tmp_path):
    case, same = "stage2", {}
    if kept:
        # torchrun keeps one store over restarts, with the addresses of the killed processes
        agent = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        same = {"port": agent.port, "env": {"TORCHELASTIC_USE_AGENT_STORE": "True"}}
    done = pair(tmp_path, case, kill=(rank, 5), **same)
    assert sorted(done["codes"]) == [-9, 1]
    assert done["seconds"] < SOON_S
    told = log(tmp_path, 1 - rank)
    assert "TrainingError: fit: all 2 processes must train to the end" in told
    assert f"rank {rank} (pid" in told
    assert pair(tmp_path, case, resume=True, **same)["codes"] == [0, 0]
    assert_equal(ended(folder, case), ended(tmp_path, case))


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "said"), [(0, "got rank 0 missing"), (1, "1 missing (rank 1)")])
def test_a_process_that_does_not_start_is_named_in_time(rank, said, pair, tmp_path):
    done = pair(tmp_path, "stage2", absent=rank, env={"FASTBRAIN_JOIN_S": "0.5"})
    assert sorted(done["codes"]) == [-9, 1]
    assert done["seconds"] < SOON_S
    told = log(tmp_path, 1 - rank)
    assert "TrainingError: fit: all 2 processes must start within 0.5 s" in told
    assert said in told
    assert not (tmp_path / "stage2").exists()


@pytest.mark.parametrize("given", ["soon", "0", "-3", "nan", "inf"])
def test_the_time_to_join_must_be_a_number_of_seconds(given, monkeypatch):
    monkeypatch.setenv("FASTBRAIN_JOIN_S", given)
    with pytest.raises(ConfigError, match="join: FASTBRAIN_JOIN_S must be a positive number"):
        join_limit_s()


def test_a_launcher_must_say_where_processes_meet(monkeypatch):
    monkeypatch.delenv("MASTER_PORT", raising=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"fit: a launcher .* got no MASTER_PORT"):
        join("fit")


@pytest.mark.slow
def test_sharded_blocks_train_as_whole_ones(pair, folder, tmp_path):
    cases = ("scmbm", "stage1", "grids-stage1", "vq", "codes")
    (tmp_path / "cut").mkdir()
    env = {"ACCELERATE_USE_FSDP": "true"}
    assert pair(tmp_path, *cases, env=env)["codes"] == [0, 0], log(tmp_path, 0) + log(tmp_path, 1)
    for case in cases:
        assert_equal_up_to_rounding(ended(folder, case), ended(tmp_path, case))
    # a stage without a block has nothing to shard
    assert pair(tmp_path, "calibrate", env=env)["codes"] == [1, 1]
    assert "must train a transformer block" in log(tmp_path, 0)
    # the checkpoints are those of whole weights
    assert pair(tmp_path / "cut", "scmbm", stop=True, env=env)["codes"] == [1, 1]
    process_cases.train(tmp_path / "cut", "scmbm", resume=True)
    assert_equal_up_to_rounding(ended(folder, "scmbm"), ended(tmp_path / "cut", "scmbm"))
