"""Events on their way to the browsers: what is sent, what is kept, and how much of it."""

from __future__ import annotations

import base64
import json
import math
import time

import numpy as np
import pytest
from fake_session import FakeSession
from hypothesis import given, settings
from hypothesis import strategies as st
from page_client import Stream, asked
from wait_until import wait_until

from fastbrain.realtime.page import hub as hub_module
from fastbrain.realtime.page.hub import KEPT, Hub
from fastbrain.realtime.page.messages import FIELDS, messages_of
from fastbrain.realtime.session import Publisher

PRIVATE = "DOE^JANE 1970-01-01"


@pytest.fixture
def hub(feed):
    made = Hub(feed)
    yield made
    made.close()


def snapshot(page) -> list[dict]:
    stream = Stream(page.port)
    events = stream.next()["events"]
    stream.close()
    return events


def test_events_arrive_in_order(page, session, feed):
    stream = Stream(page.port)
    assert stream.next() == {"type": "snapshot", "events": []}
    wait_until(lambda: feed.wants_previews)
    session.show("waiting")
    for _ in range(12):
        session.volume("ok")
    session.mark("a\nb </script>")
    assert stream.until("state")["state"] == "waiting"
    kinds = []
    while (message := stream.next())["type"] != "mark":
        kinds.append((message["type"], message.get("index")))
    assert message["label"] == "a\nb </script>"
    assert [index for kind, index in kinds if kind == "record"] == list(range(12))
    whole = ["volume", "slices", "word", "text", "control", "latency", "record", "state"]
    assert [kind for kind, index in kinds[-8:]] == whole
    stream.close()


def test_a_later_browser_gets_the_newest_state_first(page, session):
    session.show("running")
    session.mark("early")
    for _ in range(30):
        session.volume()
    session.show("stalled", silence_s=3.0)
    wait_until(lambda: any(e.get("state") == "stalled" for e in snapshot(page)))
    events = snapshot(page)
    assert [e["state"] for e in events if e["type"] == "state"] == ["stalled"]
    assert [e["label"] for e in events if e["type"] == "mark"] == ["early"]
    texts = [e["index"] for e in events if e["type"] == "text"]
    assert texts == sorted(texts)
    assert len(texts) > 20


def test_what_is_kept_is_bounded(hub, monkeypatch):
    feed = Publisher()
    session = FakeSession(feed, faults=0.3)
    events: list[dict] = []
    monkeypatch.setattr(feed, "publish", events.append)
    for _ in range(1600):
        session.volume()
    for event in events:
        hub.publish(event)
    kept = json.loads(hub._snapshot())["events"]
    numbers = {kind: sum(e["type"] == kind for e in kept) for kind in KEPT}
    assert {k: n for k, n in numbers.items() if k not in ("record", "slices")} == {
        k: n for k, n in KEPT.items() if k not in ("record", "slices")
    }
    # and the newest records that were not "ok"
    assert KEPT["record"] < numbers["record"] <= KEPT["record"] + 100
    assert max(e["index"] for e in kept if e["type"] == "record") == 1599
    assert len(hub._snapshot()) < 1e6


@pytest.mark.parametrize("kind", FIELDS)
def test_only_named_fields_leave(kind):
    event = {
        "type": kind,
        "patient": PRIVATE,
        "path": f"/data/{PRIVATE}",
        **dict.fromkeys(FIELDS[kind]),
    }
    (message,) = messages_of(event)
    assert PRIVATE not in message.body
    assert set(json.loads(message.body)) == {"type", *FIELDS[kind]}


@pytest.mark.parametrize("event", [{}, {"type": "end"}, {"type": None}, {"type": ["state"]}])
def test_other_events_are_left_out(event):
    assert messages_of(event) == []


def test_numbers_that_json_lacks_become_null():
    event = {
        "type": "volume", "index": np.int64(7), "fd_mm": math.nan, "tsnr": np.float32(2.5),
        "motion": [math.inf, -math.inf, 0.1, np.float64(1), None, 2], "spike": np.True_,
    }  # fmt: skip
    sent = json.loads(messages_of(event)[0].body)
    assert sent == {
        "type": "volume", "index": 7, "fd_mm": None, "tsnr": 2.5,
        "motion": [None, None, 0.1, 1.0, None, 2], "spike": True,
    }  # fmt: skip


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(sorted(FIELDS)), data=st.data())
def test_every_message_is_one_line_of_strict_json(kind, data):
    event = {"type": kind} | {name: data.draw(values) for name in FIELDS[kind]}
    (message,) = messages_of(event)
    assert "\n" not in message.body
    assert "\r" not in message.body
    json.loads(message.body, parse_constant=lambda name: pytest.fail(name))
    message.body.encode()


def test_long_texts_are_clipped():
    (message,) = messages_of({"type": "text", "text": "x" * 100_000})
    assert len(message.body) < 5000


def test_pictures_arrive_pixel_for_pixel():
    rng = np.random.default_rng(0)
    preview = {
        name: rng.integers(0, 256, shape, dtype=np.uint8)
        for name, shape in {"axial": (5, 7), "coronal": (3, 7), "sagittal": (3, 5)}.items()
    }
    preview["axial"] = preview["axial"].T.copy().T  # not in C order
    _, message = messages_of({"type": "volume", "index": 4, "preview": preview})
    sent = json.loads(message.body)
    assert (sent["type"], sent["index"]) == ("slices", 4)
    for name, picture in preview.items():
        pixels = np.frombuffer(base64.b64decode(sent[name]["pixels"]), dtype=np.uint8)
        assert (sent[name]["height"], sent[name]["width"]) == picture.shape
        assert np.array_equal(pixels.reshape(picture.shape), picture)


@pytest.mark.parametrize(
    "bad",
    [
        None, {}, {"axial": np.zeros((2, 2), dtype=np.uint8)},
        dict.fromkeys(("axial", "coronal", "sagittal"), np.zeros((2, 2))),
        dict.fromkeys(("axial", "coronal", "sagittal"), np.zeros((0, 2), dtype=np.uint8)),
        dict.fromkeys(("axial", "coronal", "sagittal"), np.zeros((2, 300), dtype=np.uint8)),
        dict.fromkeys(("axial", "coronal", "sagittal"), "pixels"),
    ],
)  # fmt: skip
def test_pictures_of_another_kind_are_left_out(bad):
    assert [m.kind for m in messages_of({"type": "volume", "index": 0, "preview": bad})] == [
        "volume"
    ]


def test_pictures_are_asked_for_only_while_someone_looks(page, feed):
    assert not feed.wants_previews
    stream = Stream(page.port)
    wait_until(lambda: feed.wants_previews)
    stream.close()
    wait_until(lambda: not feed.wants_previews)
    assert page.clients == 0


def test_a_browser_that_reads_nothing_costs_others_nothing(page, feed):
    slow, quick = Stream(page.port), Stream(page.port)
    quick.next()
    text, n = "x" * 3000, 4000  # more than the buffers of both sockets hold
    begun, longest = time.monotonic(), 0.0
    for i in range(n):
        before = time.monotonic()
        feed.publish({"type": "text", "index": i, "text": text})
        longest = max(longest, time.monotonic() - before)
        if i % 20 == 19:
            quick.until("text", index=i)
    assert quick.answer.isclosed() is False
    # nothing waits for a timeout of seconds; most calls take microseconds
    assert longest < 5.0, f"{time.monotonic() - begun:.1f} s in all"
    clients = page._hub._clients
    assert max(len(client._waiting) for client in clients) <= hub_module._WAITING
    wait_until(lambda: page.dropped > 0)
    slow.close()
    quick.close()
    wait_until(lambda: page.clients == 0)
    assert page.dropped > 0  # still counted


def test_a_browser_hears_what_it_lost(hub):
    import asyncio

    async def lost() -> tuple[list[str], list[str]]:
        client = hub.join()
        for i in range(hub_module._WAITING + 9):
            client.put(str(i))
        return await client.take(0.01), await client.take(0.01)

    first, second = asyncio.run(lost())
    assert len(first) == hub_module._WAITING + 1
    # its snapshot was the oldest message
    assert json.loads(first[-1]) == {"type": "page", "dropped": 10}
    assert second == []


def test_the_feed_is_bounded_too(page, feed):
    (subscription,) = feed._subscribers
    assert subscription._queue.capacity == hub_module._FEED_CAPACITY


def test_a_defective_event_is_left_out(page, feed):
    class Odd(dict):
        def get(self, name, default=None):
            raise RuntimeError(name)

    stream = Stream(page.port)
    feed._subscribers[0]._put(Odd())
    feed.publish({"type": "mark", "index": 1, "label": "after"})
    assert stream.until("mark")["label"] == "after"
    assert page._hub.unreadable == 1
    stream.close()


def test_too_many_pages_are_refused(page):
    streams = [Stream(page.port) for _ in range(hub_module._MOST_CLIENTS)]
    wait_until(lambda: page.clients == len(streams))
    assert asked(page.port, "GET", "/events")[0] == 503
    assert asked(page.port, "GET", "/")[0] == 200
    streams.pop().close()
    wait_until(lambda: page.clients == len(streams))
    again = Stream(page.port)
    assert again.next()["type"] == "snapshot"
    for stream in [*streams, again]:
        stream.close()


def test_quiet_streams_are_kept_open(page, monkeypatch):
    from fastbrain.realtime.page import app

    monkeypatch.setattr(app, "_PING_S", 0.05)
    stream = Stream(page.port)
    lines = [stream.answer.readline() for _ in range(10)]
    assert lines.count(b": still here\n") >= 2
    stream.close()


def test_the_end_of_the_session_leaves_the_page(page, session, feed):
    session.show("stopped", reason="source ended")
    feed.close()
    wait_until(lambda: not page._hub._thread.is_alive())
    assert [e["reason"] for e in snapshot(page)] == ["source ended"]


def test_closing_ends_streams_and_frees_the_port(serve):
    page = serve()
    stream = Stream(page.port)
    stream.next()
    page.close()
    page.close()
    assert stream.next() is None
    assert not page._thread.is_alive()
    stream.close()
    assert serve(port=page.port).port == page.port
