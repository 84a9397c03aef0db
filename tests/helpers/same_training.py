"""Comparison of a training that was cut with one that was not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

TIMING = ("windows_per_s", "tokens_per_s", "wait")


class Stop(Exception):
    """Raised in place of a kill."""


def without_timing(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a log without what depends on the speed of the machine."""
    return [{k: v for k, v in row.items() if k not in TIMING} for row in rows]


def assert_same_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """Names and bits are equal."""
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name
