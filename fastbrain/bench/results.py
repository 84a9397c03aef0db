"""The numbers of a row, from the times of a provider and of ours in the same rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .registry import Problem
from .statistics import quantiles, ratio


def floor_s(flops: float, traffic: float, best: dict[str, float]) -> float:
    """Seconds below which a machine cannot do so many operations and move so many bytes."""
    return max(flops / best["flops"], traffic / best["bytes"])


def result(
    problem: Problem, times: Sequence[float], ours: Sequence[float] | None, best: dict[str, float]
) -> dict[str, Any]:
    """Columns of a row.

    Parameters
    ----------
    problem : Problem
    times, ours : sequence of float
        Seconds of the provider and of ours, in the same rounds.
    best : dict of float
        Operations and bytes a second of the machine: :func:`fastbrain.bench.ceilings.roofline`.

    Returns
    -------
    dict
        Quantiles, GFLOP/s, GB/s, ``roofline`` (share of the least possible time) and the ratio to
        ours with its interval.
    """
    shown = quantiles(times)
    p50 = shown["ms_p50"] / 1e3
    floor = floor_s(problem.flops, problem.traffic, best)
    over, low, high = (None, None, None) if ours is None else ratio(times, ours)
    return {
        **shown,
        "rounds": len(times),
        **{"flops": problem.flops, "traffic": problem.traffic},
        **{"gflops": problem.flops / p50 / 1e9, "gbytes": problem.traffic / p50 / 1e9},
        **{"roofline": floor / p50, "ratio_to_fastbrain": over},
        **{"ratio_low": low, "ratio_high": high},
    }
