"""The registry through pytest-benchmark: ``pytest benchmarks --benchmark-only``.

One process, one provider after another: good for a trend line. Ratios come from ``fastbrain bench
run``, which interleaves. ``FASTBRAIN_BENCH_FAMILIES`` chooses families, separated by commas.
"""

from __future__ import annotations

import os
from functools import lru_cache

import pytest

pytest.importorskip("pytest_benchmark", reason="pip install 'fastbrain-fmri[bench]'")

from fastbrain.bench.assembly import assembled
from fastbrain.bench.registry import (
    FAMILIES,
    Entry,
    Problem,
    Setting,
    entries,
    providers,
)

CHOSEN = os.environ.get("FASTBRAIN_BENCH_FAMILIES")
CASES = [
    pytest.param(entry, provider, id=f"{entry.id}-{provider}")
    for family in (CHOSEN.split(",") if CHOSEN else FAMILIES)
    for entry in entries(family)
    if entry.suits(Setting())
    for provider in providers(family)
]


# the cases come entry by entry, and a large problem is not kept beside the next
@lru_cache(maxsize=1)
def problem(entry: Entry) -> Problem:
    return assembled(entry, Setting())[0]


@pytest.mark.parametrize(("entry", "provider"), CASES)
def test_speed(entry, provider, benchmark):
    built = problem(entry)
    ways = built.providers
    if provider not in ways:
        pytest.skip(f"{provider} does not solve this case, or is not installed")
    assert built.error(provider, ways[provider]()) <= built.limit
    benchmark.group = entry.id
    benchmark(ways[provider])
