"""What data-parallel training refuses before it starts."""

from __future__ import annotations

import pytest

from fastbrain._shards import Part
from fastbrain.errors import ConfigError
from fastbrain.training import StageConfig, processes
from fastbrain.training.data_parallel import check_batch_sizes


def test_a_batch_has_a_window_for_each_process(monkeypatch):
    first, last = StageConfig("first", batch_size=3), StageConfig("last", batch_size=2)
    check_batch_sizes(StageConfig("alone", batch_size=1), None)
    monkeypatch.setattr(processes, "_active", processes.Processes(Part(0, 3)))
    check_batch_sizes(first, None)
    with pytest.raises(ConfigError, match="batch_size of last must be 3 or more"):
        check_batch_sizes(first, None, last)
