"""Injected faults: records are the expected TRs, and labels are the faults, without exception."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from fake_clock import FakeClock
from session_fakes import TR, FakeDecoder, FakePreprocessor, ListSink, ScriptedSource, volume

from fastbrain.realtime.session import Ledger, Limits, Outcome, Session, Settings
from fastbrain.realtime.volume import BadVolume

VOLUMES = 200


def injected(seed: int, numbered: bool):
    """Items of a scan with 5 % drops, 1 % duplicates, 2 % swaps, 1 % cut files, and labels."""
    rng = np.random.default_rng(seed)
    labels: dict[int, str] = {}
    swaps = rng.choice(VOLUMES // 2 - 1, VOLUMES // 50, replace=False) * 2
    labels.update(dict.fromkeys(swaps.tolist(), "out_of_order"))
    taken = {*swaps.tolist(), *(swaps + 1).tolist()}
    free = rng.permutation([i for i in range(VOLUMES) if i not in taken])
    parts = {"dropped": 10, "duplicate": 2, "bad_volume": 2}
    for label, count in parts.items():
        labels.update(dict.fromkeys(free[:count].tolist(), label))
        free = free[count:]
    items, order = [], list(range(VOLUMES))
    for i in swaps.tolist():
        order[i], order[i + 1] = i + 1, i
    for slot, i in enumerate(order):
        at = slot * TR + rng.uniform(0, 0.2 * TR)
        label = labels.get(i)
        if label == "bad_volume":
            items.append((at, BadVolume(i if numbered else None, "cut short", 0.0)))
        elif label != "dropped":
            items += [(at, i)] * (2 if label == "duplicate" else 1)
    return items, labels


@pytest.mark.parametrize("numbered", [True, False], ids=["number known", "number unknown"])
@pytest.mark.parametrize("seed", range(6))
def test_labels_are_the_injected_faults(seed, numbered):
    clock, sink = FakeClock(), ListSink()
    items, labels = injected(seed, numbered)
    session = Session(
        ScriptedSource(clock, items),
        FakePreprocessor(clock, cost_s=0.02),
        FakeDecoder(clock),
        settings=Settings(expected=VOLUMES),
        sinks=[sink],
        clock=clock,
    )
    ending = session.run(threads=False)
    rows = {row["index"]: row["status"] for row in sink.of("record")}
    assert len(sink.of("record")) == VOLUMES
    assert rows == {i: labels.get(i, "ok") for i in range(VOLUMES)}
    wanted = Counter(labels.values())
    assert {s: ending.counters[s] for s in wanted} == wanted
    assert ending.counters["strays"] == 0


def ledger(**options):
    return Ledger(Limits.of(TR), **options)


def done(at):
    return Outcome(at, text="text")


def feed(book, *indices, start=0.0):
    """Let volumes come a TR apart, each decoded at once; returns all records."""
    records = []
    for n, i in enumerate(indices):
        now = start + n * TR
        if book.arrived(volume(i, now)) == "new":
            book.finished(i, done(now + 0.1))
        records += book.close_due(now + 0.2)
    return records


def test_a_volume_after_its_record_is_a_stray():
    book = ledger()
    feed(book, 0, 1, 2, 3, 0, 1)
    assert book.counts["strays"] == 2
    assert book.counts["records"] == 4
    assert book.counts["duplicate"] == 0


def test_a_missing_volume_is_waited_for_one_and_a_half_tr():
    book = ledger()
    feed(book, 0, 2)  # number 2 came at TR
    assert 1 not in [r.index for r in book.close_due(TR + 1.49 * TR)]
    assert 1 in [r.index for r in book.close_due(TR + 1.51 * TR)]


@pytest.mark.parametrize("number", [0, None])
def test_a_damaged_first_file_of_a_backlog_is_a_bad_volume(number):
    clock, sink = FakeClock(), ListSink()
    # the files that are there come at once, the damaged one after the patience of the source
    items = [(0.0, i) for i in range(1, 8)]
    items += [(1.2 * TR, BadVolume(number, "truncated", 0.0)), (2 * TR, 8), (3 * TR, 9)]
    session = Session(
        ScriptedSource(clock, items),
        FakePreprocessor(clock),
        FakeDecoder(clock),
        settings=Settings(expected=10),
        sinks=[sink],
        clock=clock,
    )
    session.run(threads=False)
    rows = {row["index"]: row["status"] for row in sink.of("record")}
    assert rows == {0: "bad_volume", **dict.fromkeys(range(1, 10), "ok")}


@pytest.mark.parametrize("damaged", [True, False])
def test_a_missing_volume_of_a_backlog_is_waited_for_as_long(damaged):
    book = ledger()
    for index in (0, 1, 3, 4, 5, 6):
        book.arrived(volume(index, 0.001 * index), backlog=index > 0)
    assert 2 not in [r.index for r in book.close_due(1.2 * TR)]
    if damaged:  # said after the patience of the source
        book.unreadable(BadVolume(2, "truncated", 1.2 * TR))
    (record,) = [r for r in book.close_due(1.51 * TR) if r.index == 2]
    assert record.status == ("bad_volume" if damaged else "dropped")
    assert record.backlog
    assert not record.missed


def test_a_jump_of_the_number_beyond_reason_is_no_volume():
    book = ledger()
    feed(book, 0, 1)
    assert book.arrived(volume(2**40, 2 * TR)) == "stray"
    assert book.highest == 1
    assert book.waiting() < 3


def test_a_result_that_never_comes_is_given_up():
    book = ledger()
    book.arrived(volume(0, 0.0))
    assert book.close_due(4.9 * TR) == []
    (record,) = book.close_due(5.0 * TR)
    assert (record.status, record.missed) == ("late", True)
    book.finished(0, done(6 * TR))
    assert book.counts["strays"] == 1
    assert book.last_text == "text"


def test_the_end_closes_everything_once():
    book = ledger()
    feed(book, 0, 1, 3)
    records = book.close_all(10 * TR, expected=6)
    assert {r.index: r.status for r in records} | {0: "ok", 1: "ok"} == {
        0: "ok", 1: "ok", 2: "dropped", 3: "ok", 4: "dropped", 5: "dropped"
    }  # fmt: skip
    assert book.waiting() == 0
    assert book.close_all(11 * TR) == []


def test_a_continued_log_needs_no_second_record():
    book = ledger(first=5, open_before=[3])
    assert [book.arrived(volume(i, i * TR)) for i in range(7)] == [
        "recorded", "recorded", "recorded", "new", "recorded", "new", "new"
    ]  # fmt: skip
    for i in (3, 5, 6):
        book.finished(i, done(7 * TR))
    assert [r.index for r in book.close_all(7 * TR)] == [3, 5, 6]


def test_what_a_continued_log_lacks_is_dropped_if_it_never_comes():
    book = ledger(first=5, open_before=[3])
    records = feed(book, 8, 9)
    records += book.close_all(20 * TR)
    found = {r.index: r.status for r in records}
    assert found == {3: "dropped", 5: "dropped", 6: "dropped", 7: "dropped", 8: "ok", 9: "ok"}
