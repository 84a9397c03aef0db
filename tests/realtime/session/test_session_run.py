"""A session on a fake clock: one record a TR, deadlines, silence, failures."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from fake_clock import FakeClock
from session_fakes import TR, FakeDecoder, FakePreprocessor, ListSink, ScriptedSource

from fastbrain.errors import InputError
from fastbrain.realtime.session import Session, Settings
from fastbrain.realtime.volume import BadVolume

POLL_S = 0.02  # the fake source moves the clock in such steps


def paced(count, *, every=TR, start=0.0):
    return [(start + i * every, i) for i in range(count)]


def run(items, *, settings=None, cost_s=0.05, pre_s=0.01, decoder=True, ends=True, **options):
    clock = FakeClock()
    source = ScriptedSource(clock, items, ends=ends, **options)
    pre = FakePreprocessor(clock, cost_s=pre_s)
    sink = ListSink()
    made = FakeDecoder(clock, cost_s=cost_s) if decoder is True else decoder
    if hasattr(made, "clock"):
        made.clock = clock
    session = Session(
        source, pre, made or None, settings=settings or Settings(), sinks=[sink], clock=clock
    )
    states = session.publisher.subscribe(100_000)
    ending = session.run(threads=False)
    return ending, sink, pre, [e for e in iter(states.get, None) if e["type"] == "state"]


def statuses(sink):
    return {row["index"]: row["status"] for row in sink.of("record")}


def test_every_volume_gets_one_record_in_order():
    ending, sink, _, _ = run(paced(40))
    rows = sink.of("record")
    assert [row["index"] for row in rows] == list(range(40))
    assert {row["status"] for row in rows} == {"ok"}
    assert ending.reason == "source ended"
    assert ending.counters["records"] == ending.counters["ok"] == 40
    assert ending.counters["missed"] == 0


def test_latencies_count_from_the_complete_volume():
    _, sink, _, _ = run(paced(10), cost_s=0.1, pre_s=0.06)
    for row in sink.of("record"):
        # the volume waits for at most a poll before it is worked on
        assert 0.11 - 1e-9 <= row["first_word_s"] <= 0.11 + 2 * POLL_S
        assert 0.16 - 1e-9 <= row["text_s"] <= 0.16 + 2 * POLL_S
        assert row["stages_s"]["motion"] == pytest.approx(0.06)


def test_every_miss_of_an_overloaded_decoder_is_recorded():
    ending, sink, pre, _ = run(paced(60), cost_s=2.5 * TR)
    rows = sink.of("record")
    assert sorted(row["index"] for row in rows) == list(range(60))
    assert {row["status"] for row in rows} == {"late"}
    assert ending.counters["missed"] == 60
    assert pre.pushed == list(range(60))  # statistics need every volume
    decoded = [row["index"] for row in rows if row["text_of"] == row["index"]]
    skipped = [row for row in rows if "newer" in row["reason"]]
    # one in about 2.5 windows is decoded: the newest
    assert 60 / 4 <= len(decoded) <= 60 / 2
    assert len(skipped) == 60 - len(decoded)


def test_a_full_queue_drops_the_oldest_and_counts_it():
    ending, sink, _, _ = run(
        paced(60), cost_s=20 * TR, settings=Settings(queue=4)
    )  # twenty come while one is decoded
    assert sorted(statuses(sink)) == list(range(60))
    assert ending.counters["queue_dropped"] > 0
    assert set(statuses(sink).values()) == {"late"}


def test_a_few_slow_windows_are_the_only_late_ones():
    class Slow(FakeDecoder):
        def decode(self, window, listener):
            self.cost_s = 0.9 if self.calls in (10, 20) else 0.05
            return super().decode(window, listener)

    ending, sink, _, _ = run(paced(40), decoder=Slow(FakeClock()))
    found = statuses(sink)
    assert [i for i, status in found.items() if status == "late"] == [10, 20]
    assert ending.counters["missed"] == 2


@pytest.mark.parametrize("silence_s", [3.0, 30.0])
def test_a_pause_is_stalled_and_recovers(silence_s):
    count, pause = 20, silence_s
    items = paced(10) + paced(10, start=9 * TR + pause)
    items = [(at, i if n < 10 else i + 10) for n, (at, i) in enumerate(items)]
    ending, sink, _, states = run(items)
    assert statuses(sink) == dict.fromkeys(range(count), "ok")  # a pause costs no record
    last_s = 9 * TR
    stalled = next(e for e in states if e["state"] == "stalled")
    # silence of more than 1.5 TR is seen within 0.1 TR
    assert 1.5 * TR <= stalled["at_s"] - last_s <= 1.6 * TR + POLL_S
    again = next(e for e in states if e["state"] == "running" and e["at_s"] > stalled["at_s"])
    assert again["at_s"] == pytest.approx(last_s + pause, abs=0.1 * TR + 0.1)
    assert ending.counters["missed"] == 0


def test_an_idle_session_ends():
    ending, _, _, states = run(paced(5), ends=False, settings=Settings(idle_timeout_s=10.0))
    assert ending.reason == "idle"
    assert states[-1]["state"] == "stopped"
    assert states[-1]["at_s"] == pytest.approx(4 * TR + 10.0, abs=1.0)


def test_a_run_of_known_length_ends_with_its_last_record():
    ending, sink, _, states = run(paced(5), ends=False, settings=Settings(expected=5))
    assert ending.reason == "complete"
    assert statuses(sink) == dict.fromkeys(range(5), "ok")
    assert states[-1]["at_s"] < 6 * TR


def test_a_scanner_that_goes_on_does_not_keep_a_finished_run_open():
    ending, sink, _, _ = run(paced(40), settings=Settings(expected=5))
    assert ending.reason == "complete"
    assert set(range(5)) <= statuses(sink).keys() <= set(range(7))


def test_the_lost_end_of_a_run_of_known_length_is_dropped():
    settings = Settings(expected=6, idle_timeout_s=10.0)
    ending, sink, _, _ = run(paced(4), ends=False, settings=settings)
    assert ending.reason == "idle"
    assert statuses(sink) == dict.fromkeys(range(4), "ok") | dict.fromkeys((4, 5), "dropped")


def test_a_run_that_never_began_has_no_records():
    settings = Settings(expected=6, idle_timeout_s=5.0)
    ending, sink, _, _ = run([], ends=False, settings=settings)
    assert ending.reason == "idle"
    assert statuses(sink) == {}


def test_a_session_without_a_first_volume_ends_when_idle():
    ending, _, _, _ = run([], ends=False, settings=Settings(idle_timeout_s=5.0), tr_s=None)
    assert ending.reason == "idle"


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_the_wall_clock_changes_nothing(monkeypatch, jump_s):
    _, before, _, _ = run(paced(12))
    monkeypatch.setattr(time, "time", lambda: 1e9 + jump_s)
    monkeypatch.setattr(time, "time_ns", lambda: int((1e9 + jump_s) * 1e9))
    _, after, _, _ = run(paced(12))
    assert before.events == after.events


def test_a_failure_holds_the_last_text():
    ending, sink, _, _ = run(paced(12), decoder=FakeDecoder(FakeClock(), fails=[5, 6]))
    rows = {row["index"]: row for row in sink.of("record")}
    assert [i for i, row in rows.items() if row["status"] == "held"] == [4, 5]
    assert rows[5]["text"] == "word 4"
    assert rows[5]["text_of"] == 3
    assert "RuntimeError" in rows[5]["reason"]
    assert "Doe" not in str(sink.events)
    assert rows[6]["text"] == "word 7"
    assert ending.reason == "source ended"


def test_a_failure_of_preprocessing_holds_the_last_text():
    clock = FakeClock()
    pre = FakePreprocessor(clock)
    pre.broken, pre.held = {3}, {5: "the head moved by 4 mm"}
    sink = ListSink()
    session = Session(
        ScriptedSource(clock, paced(8)), pre, FakeDecoder(clock), sinks=[sink], clock=clock
    )
    session.run(threads=False)
    found = statuses(sink)
    assert [i for i, status in found.items() if status == "held"] == [3, 5]
    assert sink.of("record")[5]["reason"] == "the head moved by 4 mm"
    assert "Doe" not in str(sink.events)


def test_monitoring_decodes_nothing():
    _, sink, _, _ = run(paced(9), decoder=None)
    assert set(statuses(sink).values()) == {"ok"}
    assert not sink.of("text")
    assert sink.of("record")[4]["motion"] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert sink.of("record")[4]["tsnr"] == 50.0


def test_volumes_that_were_there_are_all_decoded():
    items = [(0.0, i) for i in range(30)] + [(2.0 + i * TR, 30 + i) for i in range(10)]
    ending, sink, _, _ = run(items, settings=Settings(queue=4))
    rows = {row["index"]: row for row in sink.of("record")}
    assert sorted(rows) == list(range(40))
    assert all(rows[i]["backlog"] for i in range(1, 30))
    assert not any(rows[i]["backlog"] for i in range(31, 40))
    assert ending.counters["queue_dropped"] == ending.counters["missed"] == 0
    assert all(rows[i]["text_of"] == i for i in range(40))


def test_the_repetition_time_comes_from_the_first_volume():
    _, sink, _, states = run(paced(5), tr_s=None)
    assert len(sink.of("record")) == 5
    assert states[-1]["tr_s"] == TR


def test_an_unknown_repetition_time_ends_the_session_with_a_sentence():
    ending, _, _, _ = run(paced(3), tr_s=None, header_tr_s=None)
    assert ending.reason == "failed"
    assert "--tr" in ending.message


def test_another_repetition_time_is_refused():
    ending, sink, _, _ = run(paced(3), settings=Settings(tr_s=2.0), tr_s=None)
    assert "repetition time 2 s, got 0.8 s" in ending.message
    assert not sink.of("record")


def test_another_repetition_time_within_a_run_costs_its_volume_alone():
    class Mixed(ScriptedSource):
        def __iter__(self):
            for item in super().__iter__():
                other = item is not None and item.index == 3
                yield replace(item, tr_s=2.0) if other else item

    clock, sink = FakeClock(), ListSink()
    pre = FakePreprocessor(clock)
    session = Session(Mixed(clock, paced(8)), pre, sinks=[sink], clock=clock)
    assert session.run(threads=False).reason == "source ended"
    assert statuses(sink) == dict.fromkeys(range(8), "ok") | {3: "bad_volume"}
    assert "repetition time 0.8 s, got 2 s" in sink.of("record")[3]["reason"]
    assert pre.pushed == [0, 1, 2, 4, 5, 6, 7]


@pytest.mark.parametrize("name", ["tr_s", "deadline_s", "idle_timeout_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_settings_refuse_times_that_are_none(name, value):
    with pytest.raises(InputError, match=name):
        Settings(**{name: value})


def test_marks_are_written_at_the_newest_volume():
    clock, sink = FakeClock(), ListSink()
    source = ScriptedSource(clock, paced(6))
    pre = FakePreprocessor(clock)
    session = Session(source, pre, FakeDecoder(clock), sinks=[sink], clock=clock)
    push = pre.push
    pre.push = lambda v: (session.control.mark("cue on") if v.index == 3 else None, push(v))[1]
    session.run(threads=False)
    assert [(e["index"], e["label"]) for e in sink.of("mark")] == [(3, "cue on")]
    for label in ("", "x" * 201, "a\x00b", None):
        with pytest.raises(InputError, match="label"):
            session.control.mark(label)


def test_a_bad_volume_has_its_reason():
    items = [(0.0, 0), (TR, 1), (2 * TR, BadVolume(2, "cut short", 0.0)), (3 * TR, 3)]
    _, sink, _, _ = run(items)
    row = sink.of("record")[2]
    assert (row["status"], row["reason"]) == ("bad_volume", "cut short")
    assert row["text"] == "word 2"
    assert row["text_of"] == 1


@pytest.mark.parametrize("known", [True, False])
def test_a_repetition_time_from_a_volume_is_written_before_its_record(known):
    clock, sink = FakeClock(), ListSink()
    source = ScriptedSource(clock, [(i * TR, i) for i in range(4)], tr_s=TR if known else None)
    Session(source, FakePreprocessor(clock), None, sinks=[sink], clock=clock).run(threads=False)
    kinds = [event["type"] for event in sink.events if event["type"] in ("tr", "record")]
    assert kinds == ([] if known else ["tr"]) + ["record"] * 4
    assert [event["tr_s"] for event in sink.of("tr")] == ([] if known else [TR])
