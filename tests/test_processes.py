"""Worker processes: cores are divided, failures stop the others, and nothing is left running."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest

from fastbrain._processes import run_in_processes
from fastbrain._threads import threads_each
from fastbrain.errors import ConfigError, InputError, TrainingError


def threads_and_process(job: int) -> tuple[int, int, int]:
    threads = int(os.environ["OMP_NUM_THREADS"])
    if job == 3:  # once: an import of torch takes seconds
        import torch

        threads = torch.get_num_threads()
    return 10 * job, threads, os.getpid()


def fail_or_wait(job: str) -> None:
    if job == "fail":
        raise InputError("fail_or_wait: job must not fail, got one that does.")
    if job == "die":
        os._exit(9)
    time.sleep(600)


def test_every_job_is_run_in_another_process_with_its_share_of_the_cores():
    found = dict(run_in_processes(threads_and_process, [1, 2, 3], processes=2, name="test"))
    assert {i: value for i, (value, _, _) in found.items()} == {0: 10, 1: 20, 2: 30}
    assert {threads for _, threads, _ in found.values()} == {threads_each(2)}
    assert os.getpid() not in {process for _, _, process in found.values()}


@pytest.mark.parametrize(
    ("job", "error", "words"),
    [("fail", InputError, "must not fail"), ("die", TrainingError, "perhaps for its memory")],
)
def test_a_failure_ends_the_other_jobs(job, error, words):
    before = set(multiprocessing.active_children())
    start = time.monotonic()
    with pytest.raises(error, match=words):
        list(run_in_processes(fail_or_wait, ["wait", job], processes=2, name="test"))
    # the other job waits for ten minutes
    while set(multiprocessing.active_children()) - before:
        assert time.monotonic() - start < 300
        time.sleep(0.05)


def test_what_cannot_be_sent_is_refused_before_work():
    with pytest.raises(ConfigError, match=r"leave_out: with parallel > 1 .* functools\.partial"):
        list(run_in_processes(lambda job: job, [1, 2], processes=2, name="leave_out"))
