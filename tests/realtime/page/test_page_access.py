"""Who reaches the live page: addresses, foreign web pages, tokens, sizes."""

from __future__ import annotations

import builtins
import random
import socket
import subprocess
import sys
import threading
import time

import pytest
from fake_session import FakeSession
from page_client import Stream
from wait_until import WAIT_S

from fastbrain.errors import InputError, MissingPartError
from fastbrain.realtime.page import serve_page, server
from fastbrain.realtime.page.guard import MOST_BODY, is_loopback
from fastbrain.realtime.session import Publisher


@pytest.fixture(scope="module")
def feed():
    return Publisher()


@pytest.fixture(scope="module")
def session(feed):
    return FakeSession(feed)


@pytest.fixture(scope="module")
def page(feed, session):
    """One server for all tests of this file: they leave nothing in it but commands."""
    served = serve_page(feed, session.control, port=0)
    yield served
    served.close()


@pytest.fixture(autouse=True)
def _no_commands(session):
    session.commands.clear()


def test_the_page_binds_this_machine_alone(page):
    assert page.url == f"http://127.0.0.1:{page.port}/"
    assert page._listener.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True), ("127.9.0.3", True), ("::1", True), ("LocalHost", True),
        ("0.0.0.0", False), ("::", False), ("192.168.1.7", False), ("localhost.evil.org", False),
    ],
)  # fmt: skip
def test_loopback_addresses(host, local):
    assert is_loopback(host) is local


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "localhost:8765", "LOCALHOST:1", "127.0.0.2:80", "[::1]:80"]
)
def test_addresses_of_this_machine_are_answered(ask, host):
    assert ask("GET", "/", host=host)[0] == 200


# a name that resolves to 127.0.0.1 is how a foreign page would reach it (DNS rebinding)
@pytest.mark.parametrize(
    "host",
    ["evil.org", "evil.org:8765", "127.0.0.1.evil.org", "localhost.", "", "10.0.0.1", "[::2]", "1"],
)
@pytest.mark.parametrize("route", ["/", "/events", "/static/main.js"])
def test_other_names_are_refused(ask, host, route):
    status, _, text = ask("GET", route, host=host)
    assert status in (400, 403)
    assert "fastbrain" not in text


def test_a_request_without_host_or_with_two_is_refused(page):
    for head in (b"", b"Host: localhost\r\nHost: evil.org\r\n"):
        with socket.create_connection(("127.0.0.1", page.port), WAIT_S) as link:
            link.sendall(b"GET / HTTP/1.0\r\n" + head + b"\r\n")
            assert link.recv(100).split()[1] in (b"400", b"403")


@pytest.mark.parametrize("command", ["start", "stop", "mark"])
@pytest.mark.parametrize(
    "foreign",
    [
        {"origin": "https://evil.org"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},  # another program of this machine
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"content_type": "text/plain"},  # what a form can send
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_type": None},
    ],
)
def test_foreign_pages_send_no_command(ask, session, command, foreign):
    status, _, _ = ask("POST", f"/control/{command}", {"label": "x"}, **foreign)
    assert status in (403, 415)
    assert session.commands == []


def test_foreign_pages_read_no_events(ask):
    assert ask("GET", "/events", sec_fetch_site="cross-site", sec_fetch_mode="cors")[0] == 403
    assert ask("GET", "/events", origin="https://evil.org")[0] == 403
    # a link to the page is followed
    assert ask("GET", "/", sec_fetch_site="cross-site", sec_fetch_mode="navigate")[0] == 200


def test_commands_reach_the_session(ask, page, session):
    own = {"origin": f"http://127.0.0.1:{page.port}", "sec_fetch_site": "same-origin"}
    assert ask("POST", "/control/start", {}, **own)[0] == 204
    assert ask("POST", "/control/mark", {"label": "left <b> ключ"}, **own)[0] == 204
    assert ask("POST", "/control/stop", {})[0] == 204  # from a program, which sends no Origin
    assert session.commands == [("start", ""), ("mark", "left <b> ключ"), ("stop", "")]


@pytest.mark.parametrize(
    "body",
    [{}, {"label": ""}, {"label": "x" * 201}, {"label": 1}, {"label": "x", "y": 1}, [], None],
)
def test_marks_without_a_label_are_refused(ask, session, body):
    status, _, text = ask("POST", "/control/mark", body)
    assert status == 422
    assert "1 to 200 characters" in text
    assert session.commands == []


def test_what_the_session_refuses_is_shown(ask, session):
    status, _, text = ask("POST", "/control/mark", {"label": "\x00"})
    assert status == 422
    assert "label must be 1 to 200 printable characters, got 1. Shorten it." in text
    assert session.commands == []


def test_commands_are_not_links(ask, session):
    assert ask("GET", "/control/stop")[0] == 405
    assert ask("PUT", "/control/stop")[0] == 405
    assert session.commands == []


def test_bodies_are_bounded(ask, page):
    assert ask("POST", "/control/mark", b" " * (MOST_BODY + 1))[0] == 413
    with socket.create_connection(("127.0.0.1", page.port), WAIT_S) as link:
        link.sendall(
            b"POST /control/mark HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + (b"400\r\n" + b" " * 1024 + b"\r\n") * 5
        )
        assert link.recv(100).split()[1] == b"413"


def test_headers_are_bounded(page):
    with socket.create_connection(("127.0.0.1", page.port), WAIT_S) as link:
        try:
            link.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"x" * 200_000)
            found = link.recv(100)
        except OSError:
            found = b""
        assert found[:12] in (b"", b"HTTP/1.1 400")


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/nothing", "/events"])
def test_every_answer_has_the_security_headers(page, ask, path):
    if path == "/events":
        stream = Stream(page.port)
        headers = {name.lower(): value for name, value in stream.answer.getheaders()}
        stream.close()
    else:
        headers = ask("GET", path)[1]
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


@pytest.mark.parametrize(
    "path", ["/static/../server.py", "/static/%2e%2e/server.py", "/static//etc/passwd", "/static/"]
)
def test_only_the_bundle_is_served(ask, path):
    assert ask("GET", path)[0] in (403, 404, 405)


def test_a_port_in_use_is_named_before_anything_starts(serve, page, feed):
    threads, subscriptions = set(threading.enumerate()), len(feed._subscribers)
    with pytest.raises(InputError, match=f"port must be free .* got 127.0.0.1 and {page.port}"):
        serve(port=page.port)
    # threads of earlier requests may end meanwhile
    assert set(threading.enumerate()) <= threads
    assert len(feed._subscribers) == subscriptions


@pytest.mark.parametrize(
    "option", [{"port": -1}, {"port": 65536}, {"port": "8765"}, {"host": "a b"}]
)
def test_addresses_that_are_none_are_refused(serve, option):
    with pytest.raises(InputError, match="serve_page: port must be"):
        serve(**option)


def test_what_is_no_session_is_refused(feed, session):
    with pytest.raises(InputError, match="publisher must be"):
        serve_page(session, session, port=0)
    with pytest.raises(InputError, match="control must be"):
        serve_page(feed, feed, port=0)


def test_a_missing_package_names_its_extra(serve, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "uvicorn":
            raise ImportError("No module named 'uvicorn'")
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "fastbrain.realtime.page.http", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingPartError, match=r"fastbrain-fmri\[page\]"):
        serve()


def test_the_import_brings_no_server():
    code = (
        "import sys, fastbrain.realtime.page; "
        "print([m for m in ('fastapi', 'uvicorn', 'pydantic', 'torch') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_silent_connections_are_closed(serve, monkeypatch):
    monkeypatch.setattr(server, "_SILENT_S", 0.1)
    page = serve()
    stream = Stream(page.port)
    for sent in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"):
        with socket.create_connection(("127.0.0.1", page.port), WAIT_S) as link:
            link.sendall(sent)
            assert link.recv(10) == b""
    # the stream has not ended with them
    time.sleep(0.25)
    page._hub.publish({"type": "mark", "index": 3, "label": "here"})
    assert stream.until("mark")["label"] == "here"
    stream.close()


def test_random_bytes_do_not_end_it(page, ask):
    draw = random.Random(0)
    starts = [
        b"",
        b"GET / HTTP/1.1\r\n",
        b"POST /control/mark HTTP/1.1\r\nHost: localhost\r\n",
        b"\x16",
    ]
    for _ in range(300):
        with socket.create_connection(("127.0.0.1", page.port), WAIT_S) as link:
            link.sendall(draw.choice(starts) + draw.randbytes(draw.randrange(200)))
    # while it still has more than its limit of connections to close, it says that it is busy
    answers = []
    while not answers or (answers[-1] == 503 and len(answers) < 100):
        answers.append(ask("GET", "/")[0])
        time.sleep(0.01)
    assert answers[-1] == 200
