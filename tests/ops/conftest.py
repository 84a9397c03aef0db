"""Settings of the process that tests of the operators change and give back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from fastbrain.ops import _measured


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads of PyTorch for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def measuring(monkeypatch, tmp_path) -> Iterator[None]:
    """Ways are chosen by their times in this test, and no other test sees the times."""
    monkeypatch.setenv("FASTBRAIN_CACHE", str(tmp_path))
    monkeypatch.setenv(_measured.VARIABLE, "1")
    _measured.forget()
    yield
    _measured.forget()
