"""A served page with a simulated session, and headless Chromium where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_session import FakeSession
from page_client import asked

from fastbrain.realtime.page import PageServer, serve_page
from fastbrain.realtime.session import Publisher

CHROMIUM_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


Ask = Callable[..., tuple[int, dict[str, str], str]]


@pytest.fixture
def feed() -> Publisher:
    return Publisher()


@pytest.fixture
def session(feed: Publisher) -> FakeSession:
    return FakeSession(feed)


@pytest.fixture
def serve(feed: Publisher, session: FakeSession) -> Iterator[Callable[..., PageServer]]:
    """Serves the session's page with options; closed at the end."""
    served: list[PageServer] = []

    def made(**options: Any) -> PageServer:
        served.append(serve_page(feed, session.control, **({"port": 0} | options)))
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
