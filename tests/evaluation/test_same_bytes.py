"""The bytes of an evaluation do not depend on the number of threads."""

from __future__ import annotations

import shutil

import pytest
import torch

from fastbrain.decoding import Sampling
from fastbrain.evaluation.metrics import bertscore
from fastbrain.evaluation.report import outputs
from fastbrain.evaluation.threads import one_thread
from fastbrain.llm4brain.evaluate import evaluate_run

FILES = ("metrics.json", "samples.parquet", "subjects.md")


@pytest.fixture
def threads():
    """Sets the number of threads; afterwards it is what it was."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.slow
def test_evaluate_writes_the_same_bytes_with_one_thread_and_with_two(
    finished_run, store, tmp_path, threads, monkeypatch
):
    pytest.importorskip("bert_score")
    pytest.importorskip("matplotlib")
    # figures have no part in the files compared: tests/evaluation/report compares theirs
    for name in ("drawn", "write_report", "write_paper"):
        monkeypatch.setattr(outputs, name, lambda *_: None)
    found = []
    for count in (1, 2):
        run = tmp_path / str(count)
        shutil.copytree(finished_run, run)
        threads(count)
        bertscore._remembered.cache_clear()
        evaluate_run(run, store=store.path, sampling=Sampling(max_new_tokens=6))
        assert torch.get_num_threads() == count
        found.append([(run / name).read_bytes() for name in FILES])
    assert found[0] == found[1]


def test_the_number_of_threads_comes_back_after_an_error(threads):
    threads(2)

    @one_thread()
    def fail():
        assert torch.get_num_threads() == 1
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == 2
