"""How one entry of the benchmarks is timed: who is wrong, slow or late takes no further part."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fastbrain.bench import machine, measuring, registry
from fastbrain.bench.cases import lora, neighborhood, voxel_tokenizer
from fastbrain.bench.cases.tokenizing import Shape


@pytest.fixture
def suite():
    return SimpleNamespace(measuring=measuring, registry=registry)


def measured(
    suite, ways, *, limits=None, rounds=None, device="cpu", **options
) -> tuple[Any, list[dict]]:
    """Run one made-up entry; the measurement and its rows."""
    registry, rows = suite.registry, []
    problem = registry.Problem(
        providers=ways, error=lambda _name, got: got, limit=0.5, flops=1.0, traffic=1.0
    )
    entry = registry.Entry("op", "case", lambda setting: problem, rounds=5)
    recorder = SimpleNamespace(row=lambda **row: rows.append(row))
    best = {"bytes": 1e9, "flops": 1e9}
    measurement = suite.measuring.Measurement(
        entry, registry.Setting(device), recorder, best, limits=limits, **options
    )
    measurement.run(rounds)
    return measurement, rows


def test_a_wrong_provider_is_a_row_and_the_others_are_timed(suite):
    heard = []
    ways = {"fastbrain": lambda: 0.0, "wrong": lambda: 1.0, "nan": lambda: float("nan")}
    measurement, rows = measured(suite, ways, failing=heard.append)
    assert measurement.failed == heard == ["wrong", "nan"]
    assert [row["provider"] for row in rows if row["op"] == "failed_op"] == ["wrong", "nan"]
    assert [row["provider"] for row in rows if row["op"] == "op"] == ["fastbrain"]


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_a_provider_that_fails_later_is_left_out_then(suite, calls):
    """While it is probed, warmed up or timed: it was right when it was verified."""
    count = iter(range(100))

    def later() -> float:
        if next(count) >= calls:
            raise RuntimeError("not again")
        return 0.0

    limits = suite.measuring.Limits(factor=1e9)
    measurement, rows = measured(suite, {"fastbrain": lambda: 0.0, "later": later}, limits=limits)
    assert measurement.failed == ["later"]
    assert [row["provider"] for row in rows if row["op"] == "failed_op"] == ["later"]
    assert [row["rounds"] for row in rows if row["op"] == "op"] == [5]


def test_where_ours_fails_there_is_no_ratio(suite):
    _, rows = measured(suite, {"fastbrain": lambda: 1.0, "rival": lambda: 0.0})
    [timed] = [row for row in rows if row["op"] == "op"]
    assert timed["provider"] == "rival"
    assert timed["ratio_to_fastbrain"] is None


def test_slow_providers_are_dropped_but_ours_is_not_for_being_slower(suite, monkeypatch):
    seconds = {"fastbrain": 0.5, "slower": 0.5, "beyond": 3.0, "fast": 0.01}
    ways = {name: (lambda: 0.0) for name in seconds}
    names = {id(way): name for name, way in ways.items()}
    monkeypatch.setattr(suite.measuring, "cpu_clock", lambda way: seconds[names[id(way)]])
    limits = suite.measuring.Limits(call_s=2.0, factor=20.0)
    _, rows = measured(suite, ways, limits=limits, rounds=100)
    dropped = {row["provider"]: row["note"] for row in rows if row["op"] == "dropped_op"}
    assert set(dropped) == {"slower", "beyond"}
    assert "one call takes 3 s, 300 times the fastest" in dropped["beyond"]
    timed = {row["provider"]: row["rounds"] for row in rows if row["op"] == "op"}
    # two seconds of calls of half a second
    assert timed == {"fastbrain": 4, "fast": 4}


def test_nothing_begins_after_the_deadline(suite):
    limits = suite.measuring.Limits(deadline=0.0)
    _, rows = measured(suite, {"fastbrain": lambda: 0.0, "other": lambda: 0.0}, limits=limits)
    assert {(row["op"], row["note"]) for row in rows} == {("dropped_op", "no time left")}


@pytest.fixture
def gpu(suite, monkeypatch):
    """A GPU that takes every call for done at once; `spoilt` makes it refuse."""
    state = SimpleNamespace(spoilt=False)

    def synchronize(_device: object = None) -> None:
        if state.spoilt:
            raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(suite.measuring, "GpuClock", lambda *_, **__: lambda way: 0.001)
    monkeypatch.setattr(suite.measuring, "gpu_state", dict)
    monkeypatch.setattr(suite.measuring, "peak_bytes", lambda *_: 8)
    return state


def test_calls_and_replays_of_graphs_are_timed_apart(suite, gpu, monkeypatch):
    def captured(way):
        if way() > 0.0:
            raise RuntimeError("operation not permitted when stream is capturing")
        return way

    monkeypatch.setattr(suite.measuring, "captured", captured)
    ways = {"fastbrain": lambda: 0.0, "syncs": lambda: 0.1}
    limits = suite.measuring.Limits(graphs=True)
    measurement, rows = measured(suite, ways, limits=limits, device="cuda")
    timed = [(row["provider"], row["way"], row["cache"]) for row in rows if row["op"] == "op"]
    caches = ("cold", "warm")
    assert timed == [
        *((name, "call", cache) for cache in caches for name in ways),
        *(("fastbrain", "graph", cache) for cache in caches),
    ]
    [dropped] = [row for row in rows if row["op"] == "dropped_op"]
    assert dropped["provider"] == "syncs"
    assert dropped["note"].startswith("no graph: RuntimeError: operation not permitted")
    # what a graph cannot hold has not failed
    assert measurement.failed == []


def test_a_spoilt_context_ends_the_measurement_after_the_row(suite, gpu):
    heard = []

    def crashes() -> float:
        gpu.spoilt = True
        return 0.0

    ways = {"fastbrain": lambda: 0.0, "crashes": crashes, "next": lambda: 0.0}
    with pytest.raises(suite.measuring.SpoiltContext):
        measured(suite, ways, device="cuda", failing=heard.append)
    assert heard == ["crashes"]


@pytest.mark.parametrize("family", ["lora", "neighborhood", "voxel_tokenizer"])
def test_a_step_with_a_wrong_gradient_is_wrong(suite, family):
    """An answer alone, however right, does not make a training step."""
    setting = suite.registry.Setting()
    problem = {
        "lora": lambda: lora.problem(9, 16, 12, 4, "gelu", True, setting),
        "neighborhood": lambda: neighborhood.problem(8, 50, 16, 3, "paper", setting),
        "voxel_tokenizer": lambda: voxel_tokenizer.problem(
            Shape((8, 8, 12), 2, 4, 6, backward=True), setting
        ),
    }[family]()
    for name, way in problem.providers.items():
        answer = way()
        assert problem.error(name, answer) <= problem.limit
        for index in range(1, len(answer)):
            spoilt = [*answer]
            spoilt[index] = spoilt[index] * 1.1
            assert problem.error(name, tuple(spoilt)) > problem.limit


def test_float32_is_not_tf32(suite):
    places = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = True
        machine.no_tf32()
        assert not any(place.allow_tf32 for place in places)
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value
