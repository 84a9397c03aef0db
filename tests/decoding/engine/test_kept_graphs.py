"""Graphs that an engine keeps: few, and those used last; work on the CPU stands in for a graph."""

from __future__ import annotations

import pytest
import torch
from engine_models import EOS, engine_model, some_embeds

from fastbrain.decoding import DecodeEngine, Sampling
from fastbrain.decoding.engine import device_loop, prefill_graphs
from fastbrain.decoding.engine.prefill_graphs import PrefillGraphs
from fastbrain.decoding.engine.recent import Recent


class Repeated:
    """Does the work again where a graph would be replayed."""

    made = 0

    def __init__(self, work):
        type(self).made += 1
        self.work = work
        work()  # a capture, whose result is not used

    def replay(self):
        return self.work()


@pytest.fixture
def graphs(monkeypatch):
    monkeypatch.setattr(Repeated, "made", 0)
    monkeypatch.setattr(prefill_graphs, "Captured", Repeated)
    rows = DecodeEngine(engine_model("llama"), max_tokens=40, batch=2, step="torch")._rows
    return PrefillGraphs(rows.network, rows.cache, most=3)


def _prefill(graphs: PrefillGraphs, length: int, *, row: int = 0, seed: int = 0) -> torch.Tensor:
    cache = graphs._cache
    cache.rewind(row, None)
    with torch.no_grad():
        found = graphs.prefill(some_embeds(1, length, seed=seed)[0], row)
    assert cache.lengths[row] == length
    return found


def test_the_value_used_last_stays():
    kept = Recent(2)
    kept.put("a", 1)
    kept.put("b", 2)
    assert kept.get("a") == 1
    kept.put("c", 3)
    assert ("a" in kept, "b" in kept, "c" in kept, len(kept)) == (True, False, True, 2)
    kept.put("a", 4)
    assert (kept.get("a"), kept.get("c"), kept.get("b"), len(kept)) == (4, 3, None, 2)


def test_a_captured_prefill_reads_the_new_window(graphs):
    first = [_prefill(graphs, 5, seed=n) for n in range(3)]
    assert Repeated.made == 1
    again = [_prefill(graphs, 5, seed=n, row=1) for n in range(3)]
    assert Repeated.made == 2  # rows have addresses of their own
    cache, network = graphs._cache, graphs._network
    for n in range(3):
        cache.rewind(0, None)
        plain = network.prefill(some_embeds(1, 5, seed=n)[0], cache, 0)
        torch.testing.assert_close(torch.stack([first[n], again[n]]), plain.expand(2, -1))
    assert not torch.equal(first[1], first[2])


def test_prefills_of_few_shapes_are_kept(graphs):
    for length in range(1, 30):
        _prefill(graphs, length)
    assert (len(graphs._shapes), Repeated.made) == (3, 0)
    for length in (29, 28, 4, 29, 28, 5, 6, 7, 29):
        _prefill(graphs, length)
    # 29 and 28 came again while they were known; 29 was forgotten after 5, 6 and 7
    assert (len(graphs._shapes), Repeated.made) == (3, 2)


def test_more_shapes_than_are_kept_are_not_captured_each_time(graphs):
    for length in (4, 5, 6, 7) * 5:
        _prefill(graphs, length)
    assert Repeated.made == 0


def test_loops_of_few_options_are_kept(monkeypatch):
    monkeypatch.setattr(device_loop, "MOST_LOOPS", 2)
    engine = DecodeEngine(engine_model("llama"), max_tokens=30, step="torch")
    plain = DecodeEngine(engine_model("llama"), max_tokens=30, step="torch")
    engine._device_loop = True
    for count, most in ((1, 3), (1, 4), (1, 5), (2, 5), (2, 6), (1, 3), (3, 4), (1, 3), (1, 3)):
        embeds, asked = some_embeds(count, 4), Sampling(max_new_tokens=most)
        found = engine.generate(embeds, sampling=asked, eos_token_id=EOS)
        assert found.tokens == plain.generate(embeds, sampling=asked, eos_token_id=EOS).tokens
        assert len(engine._loops._loops) <= 2
        assert engine._loops._cache is engine._rows.cache
    loop = engine._loops.of(engine._rows.cache, 1, Sampling(max_new_tokens=3))
    assert loop is engine._loops.of(engine._rows.cache, 1, Sampling(max_new_tokens=3, seed=9))
