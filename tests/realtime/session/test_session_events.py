"""Events, bounded queues and the threads of a session."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest
from session_fakes import FakeDecoder, FakePreprocessor, ListSink, ScriptedSource

from fastbrain.errors import DiskError, InputError
from fastbrain.realtime.session import Publisher, Session, Settings
from fastbrain.realtime.session.events import preview
from fastbrain.realtime.session.queues import BoundedQueue
from fastbrain.realtime.volume import MonotonicClock

TR_S = 0.03  # of sessions on the real clock


def live(count, *, decoder=None, settings=None, sinks=(), ends=True):
    clock = MonotonicClock()
    items = [(i * TR_S, i) for i in range(count)]
    source = ScriptedSource(clock, items, tr_s=TR_S, header_tr_s=TR_S, ends=ends)
    made = FakeDecoder(clock, cost_s=0.002) if decoder is None else decoder
    settings = settings or Settings(expected=count)
    return Session(source, FakePreprocessor(clock), made, settings=settings, sinks=sinks)


def test_a_queue_drops_its_oldest_items():
    queue = BoundedQueue(3)
    assert [queue.put(i) for i in range(5)] == [None, None, None, 0, 1]
    assert queue.dropped == 2
    assert [queue.get() for _ in range(4)] == [2, 3, 4, None]


def test_a_queue_makes_a_writer_wait():
    queue = BoundedQueue(1)
    assert queue.put_waiting(1, 0.0)
    assert not queue.put_waiting(2, 0.01)
    reader = threading.Timer(0.02, queue.get)
    reader.start()
    assert queue.put_waiting(3, 5.0)
    reader.join()
    queue.close()
    assert not queue.put_waiting(4, 5.0)
    assert queue.get() == 3


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_queue_without_room_is_refused(capacity):
    with pytest.raises(InputError, match="capacity"):
        BoundedQueue(capacity)


def test_a_slow_subscriber_loses_the_oldest_events():
    publisher = Publisher()
    slow, quick = publisher.subscribe(2), publisher.subscribe()
    for i in range(5):
        publisher.publish({"type": "record", "index": i})
    assert [slow.get()["index"] for _ in range(2)] == [3, 4]
    assert slow.dropped == 3
    assert quick.dropped == 0
    publisher.close()
    assert slow.closed
    assert slow.get() is None


def test_a_new_subscriber_gets_the_state_first():
    publisher = Publisher()
    publisher.publish({"type": "state", "state": "running"})
    publisher.publish({"type": "record", "index": 0})
    assert publisher.subscribe().get()["state"] == "running"
    assert publisher.latest("record")["index"] == 0
    assert publisher.latest("text") is None


def test_previews_reach_those_who_ask():
    publisher = Publisher()
    plain = publisher.subscribe()
    assert not publisher.wants_previews
    rich = publisher.subscribe(previews=True)
    assert publisher.wants_previews
    publisher.publish({"type": "volume", "preview": {"axial": 1}})
    assert "preview" not in plain.get()
    assert "preview" in rich.get()
    rich.close()
    assert not publisher.wants_previews


def test_a_preview_shows_the_middle_slices():
    data = np.zeros((3, 260, 5), dtype=np.float32)
    data[1, :, 2] = 10.0
    data[0, 0, 0] = np.nan
    found = preview(data, np.eye(4), 0.0, 10.0)
    shapes = {name: picture.shape for name, picture in found.items()}
    assert shapes == {"axial": (87, 5), "coronal": (3, 5), "sagittal": (3, 87)}
    assert found["axial"][:, 2].min() == 255
    assert found["sagittal"][1].min() == 255
    assert found["axial"].dtype == np.uint8


def test_every_event_but_a_preview_is_json_and_has_its_time():
    session = live(12)
    events, pictures = (
        session.publisher.subscribe(10_000),
        session.publisher.subscribe(10_000, previews=True),
    )
    session.run()
    found = list(iter(events.get, None))
    kinds = {event["type"] for event in found}
    assert kinds == {"state", "volume", "word", "text", "control", "latency", "record"}
    assert json.loads(json.dumps(found)) == found
    assert all(event["at_s"] >= 0 for event in found)
    shown = [e for e in iter(pictures.get, None) if e["type"] == "volume"]
    assert len(shown) == 12
    assert shown[0]["preview"]["axial"].shape == (3, 5)
    states = [event["state"] for event in found if event["type"] == "state"]
    assert (states[0], states[-1]) == ("waiting", "stopped")


def test_threads_lose_no_record_under_overload():
    clock, sink = MonotonicClock(), ListSink()
    session = live(40, decoder=FakeDecoder(clock, cost_s=2.5 * TR_S), sinks=[sink])
    ending = session.run()
    rows = sink.of("record")
    assert sorted(row["index"] for row in rows) == list(range(40))
    assert ending.counters["missed"] == sum(row["missed"] for row in rows)
    assert ending.counters["missed"] >= 30
    assert sink.events[-1]["type"] == "end"
    assert sink.events[-1]["counters"]["records"] == 40


def test_a_session_waits_for_its_start():
    session = live(5, settings=Settings(waits=True, expected=5))
    seen = session.publisher.subscribe(1000)
    thread = threading.Thread(target=session.run)
    thread.start()
    time.sleep(0.1)
    assert thread.is_alive()
    assert {event["type"] for event in iter(seen.get, None)} == {"state"}
    session.control.start()
    thread.join(20)
    assert session.counters()["records"] == 5


def test_stopping_ends_a_session_from_another_thread():
    session = live(10, ends=False)
    threading.Timer(0.3, session.control.stop).start()
    ending = session.run()
    assert ending.reason == "stopped"
    assert ending.counters["records"] == 10


def test_a_failing_output_does_not_end_a_session(capsys):
    class Broken(ListSink):
        def write(self, event):
            raise DiskError("write: the disk is full.")

    good = ListSink()
    ending = live(6, sinks=[Broken(), good]).run()
    assert len(good.of("record")) == 6
    assert ending.counters["unwritten"] >= 6
    assert capsys.readouterr().err.count("the disk is full") == 1


def test_a_failing_source_ends_a_session_with_its_records():
    session = live(5)

    class Failing(ScriptedSource):
        def __iter__(self):
            yield from super().__iter__()
            raise RuntimeError("names Jane^Doe")

    clock = MonotonicClock()
    items = [(0.0, 0), (0.01, 1)]
    session.source = Failing(clock, items, tr_s=TR_S, header_tr_s=TR_S)
    ending = session.run()
    assert ending.reason == "failed"
    assert "RuntimeError" in ending.message
    assert "Doe" not in ending.message
    assert ending.counters["records"] == 2


@pytest.mark.parametrize("threads", [True, False])
def test_a_decoder_that_cannot_warm_up_is_said(threads):
    class Cold(FakeDecoder):
        def warm_up(self):
            raise InputError("cold")

    with pytest.raises(InputError, match="cold"):
        live(3, decoder=Cold(MonotonicClock())).run(threads=threads)


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([2.0, 2, 2, 1]),
        np.diag([-2.0, 2, 2, 1]),  # stored right to left
        np.diag([-2.0, -2, 3, 1]),
        np.array([[0, 0, 3.0, 5], [-2, 0.2, 0, 1], [0.2, -2, 0, 9], [0, 0, 0, 1]]),  # sagittal
    ],
    ids=["RAS", "LAS", "LPS", "oblique sagittal"],
)
def test_a_preview_is_anatomical(affine):
    shape = np.array([7, 9, 11])  # x, y, z
    middle = shape // 2
    data = np.zeros(shape[::-1], dtype=np.int16)
    towards = np.linalg.inv(affine[:3, :3])
    for value, world in ((50, (6, 0, 0)), (100, (0, 6, 0)), (200, (0, 0, 6))):
        x, y, z = middle + np.rint(towards @ world).astype(int)
        data[z, y, x] = value
    found = preview(data, affine, 0.0, 255.0)

    def side(name, value):
        rows, columns = np.nonzero(found[name] == value)
        centre = np.array(found[name].shape) // 2
        return tuple(np.sign(np.array([rows[0], columns[0]]) - centre).tolist())

    # rows grow to the front or up, columns to the right or front
    assert (side("axial", 50), side("axial", 100)) == ((0, 1), (1, 0))
    assert (side("coronal", 50), side("coronal", 200)) == ((0, 1), (1, 0))
    assert (side("sagittal", 100), side("sagittal", 200)) == ((0, 1), (1, 0))
