"""The page in headless Chromium; skipped where playwright or Chromium is not installed."""

from __future__ import annotations

import time

import pytest

HOSTILE = '<script>window.broken = 1</script><img src=x onerror="window.broken = 1">'
WAIT_MS = 20_000


@pytest.fixture
def look(chromium, page):
    """Opens the page in a new context; console errors fail the test."""
    contexts, errors = [], []

    def opened(url=page.url, width=1280, height=900, **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        view = context.new_page()
        view.set_default_timeout(WAIT_MS)
        view.on("pageerror", lambda error: errors.append(str(error)))
        view.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        view.goto(url)
        view.wait_for_function("() => globalThis.fastbrain.draws() > 0")
        return view

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def shown(view, selector: str, text: str) -> None:
    view.wait_for_function(
        "([where, text]) => document.querySelector(where).textContent.includes(text)",
        arg=[selector, text],
    )


def test_a_session_from_ready_to_stopped(look, session):
    view = look()
    session.show("ready")
    shown(view, "#state", "ready")
    assert view.is_disabled("#mark-button") is False
    view.click("#start")
    shown(view, "#answer", "Started.")
    for last in range(9, 40, 10):  # no more at once than the queue of a browser holds
        for _ in range(10):
            session.volume("ok")
        shown(view, "#fact-volume", str(last))
    session.volume("late")
    shown(view, "#fact-volume", "40")
    shown(view, "#latency-of", "last 37 decoded windows")
    shown(view, "#counts-of", "41 TRs")
    assert view.text_content("#state-name") == "running"
    assert view.is_disabled("#start")
    shown(view, "#text-flag", "Late")
    assert view.text_content("#counts tr[data-name=ok] td") == "40"
    assert view.text_content("#counts tr[data-name=late] td") == "1"
    assert view.locator("#ranked li").count() == 5
    assert view.text_content("#confidence").endswith("%")
    assert "nats per token" in view.text_content("#margin-words")
    assert view.text_content("#text-p99").endswith("ms")
    label = view.get_attribute("#histogram", "aria-label")
    assert "deadline 500 ms" in label

    view.fill("#label", "left hand")
    view.press("#label", "Enter")
    shown(view, "#log", "left hand")
    assert view.input_value("#label") == ""

    view.click("#stop")
    view.click("dialog button[value=no]")
    view.click("#stop")
    view.click("dialog button[value=yes]")
    shown(view, "#answer", "Stopping.")
    session.show("stopped", reason="stopped")
    shown(view, "#state", "stopped")
    assert view.is_disabled("#stop")
    assert session.commands == [("start", ""), ("mark", "left hand"), ("stop", "")]


def test_the_first_word_comes_before_its_sentence(look, session):
    view = look()
    for _ in range(6):
        session.volume("ok")
    session.publish("word", index=6, text="two", latency_s=0.2)
    shown(view, "#sentence", "two …")
    shown(view, "#text-of", "volume 6, first word after 200 ms")
    shown(view, "#earlier", "he puts the cup")
    session.volume("ok")
    shown(view, "#sentence", "a small boat")


def test_the_last_text_is_held_and_flagged(look, session):
    view = look()
    for _ in range(6):
        session.volume("ok")
    shown(view, "#sentence", "he puts the cup")
    assert view.is_hidden("#text-flag")
    session.volume("held")
    session.volume("dropped")
    shown(view, "#text-flag", "Held since volume 6, newest: no volume came")
    assert "he puts the cup" in view.text_content("#sentence")
    session.volume("ok")
    view.wait_for_function("() => document.getElementById('text-flag').hidden")


def test_markup_in_every_text_stays_text(look, session):
    view = look()
    session.show("running", reason=HOSTILE, source=HOSTILE)
    session.publish("text", index=1, text=HOSTILE, latency_s=0.1, ranked=[[HOSTILE, 0.5]])
    session.publish("text", index=2, text=HOSTILE, latency_s=0.1, ranked=[[HOSTILE, 0.5]])
    session.publish("record", index=2, status="held", reason=HOSTILE, text=HOSTILE, text_of=1)
    session.publish("record", index=3, status=HOSTILE, reason=HOSTILE, text=HOSTILE, text_of=1)
    session.mark(HOSTILE)
    session.publish("word", index=4, text=HOSTILE, latency_s=0.1)
    for where in ("#sentence", "#ranked", "#earlier", "#log", "#fact-source"):
        shown(view, where, HOSTILE)
    assert view.evaluate("window.broken") is None
    assert view.locator("script").count() == 1
    assert view.locator("img").count() == 0


def test_stalled_and_overload_are_said(look, session):
    view = look()
    for _ in range(8):
        session.volume("ok")
    session.show("stalled", silence_s=2.0)
    shown(view, "#alert", "Stalled")
    shown(view, "#state-more", "no volume for")
    for _ in range(4):
        session.volume("late")
    shown(view, "#alert", "Overload: 4 of the last 12 TRs missed their deadline")


def test_pictures_and_plots_are_drawn(look, session, feed):
    view = look()
    while not feed.wants_previews:
        time.sleep(0.01)
    for _ in range(20):
        session.volume("ok")
    shown(view, "#slices-of", "volume 19")
    spread = """id => {
        const canvas = document.getElementById(id);
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return [canvas.width, canvas.height, new Set(pixels).size];
    }"""
    assert view.evaluate(spread, "axial")[:2] == [64, 64]
    assert view.evaluate(spread, "coronal")[:2] == [64, 36]
    for name in (
        "axial",
        "coronal",
        "sagittal",
        "translation",
        "rotation",
        "fd",
        "tsnr",
        "histogram",
    ):
        assert view.evaluate(spread, name)[2] > 5, name


def test_a_lost_connection_comes_back_with_the_newest_state(look, page, serve, session):
    view = look()
    session.show("running")
    shown(view, "#state", "running")
    page.close()
    shown(view, "#alert", "No connection")
    assert view.is_disabled("#stop")
    serve(port=page.port)
    session.show("stalled", silence_s=1.0)
    shown(view, "#state", "stalled")


def test_the_token_leaves_the_address_and_opens_everything(look, serve, session):
    served = serve(token="a-token-of-the-tests_0123456789")
    view = look(served.url)
    assert "token" not in view.url
    session.show("running")
    shown(view, "#state", "running")
    view.fill("#label", "x")
    view.press("#label", "Enter")
    shown(view, "#answer", "Marked")
    view.reload()
    shown(view, "#state", "running")


@pytest.mark.parametrize(("width", "height"), [(360, 640), (800, 600), (1920, 1080)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_narrow_and_wide_screens(look, session, width, height, scheme):
    view = look(width=width, height=height, color_scheme=scheme)
    for _ in range(10):
        session.volume("ok")
    shown(view, "#fact-volume", str(session.index))
    if width >= 1180:  # all of it on one screen
        bottom = "document.querySelector('main').getBoundingClientRect().bottom"
        assert view.evaluate(bottom) <= height
    session.publish("text", index=20, text="x" * 900, latency_s=0.1, ranked=[["y" * 300, 0.5]])
    shown(view, "#sentence", "xxx")
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    ink, paper = view.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert contrast(ink, paper) > 7  # WCAG 2.2, level AAA


def contrast(one: str, other: str) -> float:
    levels = sorted(map(luminance, (one, other)))
    return (levels[1] + 0.05) / (levels[0] + 0.05)


def luminance(colour: str) -> float:
    parts = [float(p) / 255 for p in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_everything_is_reached_by_keyboard(look, session):
    view = look()
    session.show("ready")
    shown(view, "#state", "ready")
    reached = []
    for _ in range(7):
        view.keyboard.press("Tab")
        reached.append(
            view.evaluate(
                "[document.activeElement.id || document.activeElement.className, "
                "getComputedStyle(document.activeElement).outlineStyle]"
            )
        )
    assert [name for name, _ in reached[:6]] == [
        "skip",
        "label",
        "mark-button",
        "start",
        "stop",
        "log",
    ]
    assert {outline for _, outline in reached[:6]} == {"solid"}
    view.focus("#stop")
    view.keyboard.press("Enter")
    # the harmless answer has the focus
    assert view.evaluate("document.activeElement.value") == "no"
    view.keyboard.press("Escape")
    assert view.evaluate("document.activeElement.id") == "stop"
    view.focus("#start")
    view.keyboard.press("Space")
    shown(view, "#answer", "Started.")
    assert session.commands == [("start", "")]


def test_screen_readers_hear_sentences_and_states(look, session):
    view = look()
    for _ in range(6):
        session.volume("ok")
    shown(view, "#spoken", "a")
    assert view.get_attribute("#spoken", "aria-live") == "polite"
    assert view.get_attribute("#alert", "role") == "alert"
    unnamed = view.evaluate(
        """[...document.querySelectorAll("canvas, section, button, input")].filter((one) =>
            !one.getAttribute("aria-label") && !one.getAttribute("aria-labelledby")
            && !one.textContent.trim() && !one.labels?.length).map((one) => one.outerHTML)"""
    )
    assert unnamed == []


def test_a_long_session_stays_small_and_is_drawn_seldom(look, session):
    """4,500 volumes within seconds: rings are full, and drawing is at most ten times a second."""
    view = look()
    drawn = view.evaluate("fastbrain.draws()")
    begun = time.monotonic()
    for i in range(4500):
        session.volume()
        if i % 20 == 0:
            time.sleep(0.005)  # a feed drops what its reader cannot keep up with
    session.mark("end")
    shown(view, "#log", "end")
    took = time.monotonic() - begun
    sizes = view.evaluate(
        "['volumes', 'latencies', 'texts', 'log', 'misses'].map((n) => fastbrain.model[n].length)"
    )
    assert all(n <= most for n, most in zip(sizes, (600, 1000, 50, 150, 20), strict=True))
    assert sizes[0] == 600
    assert view.evaluate("fastbrain.draws()") - drawn <= 10 * took + 2
    assert view.locator("*").count() < 700
