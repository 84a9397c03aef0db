"""A served page with a simulated session, and headless Chromium where there is one."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_session import FakeSession, Feed

from fastbrain.realtime.page import PageServer, serve_page

CHROMIUM_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
WAIT_S = 20.0  # longest wait for what takes milliseconds


class Stream:
    """One open stream of events, read message by message."""

    def __init__(self, port: int, path: str = "/events", headers: dict[str, str] | None = None):
        self.link = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        self.link.request("GET", path, headers=headers or {})
        self.answer = self.link.getresponse()

    def next(self) -> dict[str, Any] | None:
        """The next message; None at the end of the stream."""
        while line := self.answer.readline():
            if line.startswith(b"data: "):
                return json.loads(line[6:])
        return None

    def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next message of a type with these fields."""
        while (message := self.next()) is not None:
            if message["type"] == kind and fields.items() <= message.items():
                return message
        raise AssertionError(f"the stream ended without {kind} {fields}")

    def close(self) -> None:
        # the response holds the socket too
        self.answer.close()
        self.link.close()


Ask = Callable[..., tuple[int, dict[str, str], str]]


def asked(port: int, method: str, path: str, body: Any = None, **headers: str | None) -> Any:
    """Status, headers and text of a request; a header of None is left out."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if method == "POST":
        sent = {"content-type": "application/json"} | sent
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    link.putrequest(method, path, skip_host="host" in sent)
    for name, value in sent.items():
        if value is not None:
            link.putheader(name, value)
    if content is not None:
        link.putheader("content-length", str(len(content)))
    link.endheaders(content)
    answer = link.getresponse()
    found = {name.lower(): value for name, value in answer.getheaders()}
    text = answer.read().decode()
    link.close()
    return answer.status, found, text


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def session(feed: Feed) -> FakeSession:
    return FakeSession(feed)


@pytest.fixture
def serve(feed: Feed, session: FakeSession) -> Iterator[Callable[..., PageServer]]:
    """Serves the session's page with options; closed at the end."""
    served: list[PageServer] = []

    def made(**options: Any) -> PageServer:
        served.append(serve_page(feed, session, **({"port": 0} | options)))
        return served[-1]

    yield made
    for one in served:
        one.close()


@pytest.fixture
def page(serve: Callable[..., PageServer]) -> PageServer:
    return serve()


@pytest.fixture
def ask(page: PageServer) -> Ask:
    return lambda *request, **headers: asked(page.port, *request, **headers)


# of a module: playwright keeps an event loop running, in which others cannot start one
@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Headless Chromium; the test is skipped without it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()
