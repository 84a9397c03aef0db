"""The token of a page that other machines reach: needed everywhere, shown nowhere."""

from __future__ import annotations

import logging

import pytest
from page_client import Stream, asked

from fastbrain.errors import InputError

TOKEN = "a-token-of-the-tests_0123456789"
ROUTES = ["/", "/events", "/static/main.js", "/static/style.css", "/nothing", "/docs"]


@pytest.mark.parametrize("path", ROUTES)
def test_the_token_is_needed_on_every_route(serve, path):
    port = serve(token=TOKEN).port
    for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}):
        assert asked(port, "GET", path, **given)[0] == 401
    for query in ("?token=", f"?token={TOKEN}x", f"?token={TOKEN}&token={TOKEN}", "?token=%ff"):
        assert asked(port, "GET", path + query)[0] == 401
    assert asked(port, "GET", path, cookie=f"fastbrain-{port}=wrong")[0] == 401
    assert asked(port, "GET", path, cookie=f"fastbrain-1={TOKEN}")[0] == 401


def test_the_token_is_needed_for_commands(serve, session):
    port = serve(token=TOKEN).port
    assert asked(port, "POST", "/control/stop", {})[0] == 401
    assert session.commands == []
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert asked(port, "POST", "/control/stop", {}, **bearer)[0] == 204
    assert session.commands == [("stop", "")]


def test_the_first_page_sets_a_cookie_that_opens_the_others(serve):
    page = serve(token=TOKEN)
    assert page.url.endswith(f"?token={TOKEN}")
    status, headers, _ = asked(page.port, "GET", f"/?token={TOKEN}")
    assert status == 200
    cookie, *flags = headers["set-cookie"].split("; ")
    assert sorted(flags) == ["HttpOnly", "Path=/", "SameSite=Strict"]
    assert asked(page.port, "GET", "/static/main.js", cookie=f"other=1; {cookie}")[0] == 200
    stream = Stream(page.port, headers={"cookie": cookie})
    assert stream.next()["type"] == "snapshot"
    stream.close()
    stream = Stream(page.port, f"/events?token={TOKEN}")
    assert stream.next()["type"] == "snapshot"
    stream.close()


def test_a_page_for_other_machines_has_a_random_token(serve):
    first, second = serve(host="0.0.0.0"), serve(host="0.0.0.0")
    tokens = [page.url.partition("?token=")[2] for page in (first, second)]
    assert len(set(tokens)) == 2
    assert min(map(len, tokens)) >= 40  # 32 random bytes
    assert asked(first.port, "GET", "/")[0] == 401
    assert asked(first.port, "GET", f"/?token={tokens[0]}", host="10.1.2.3:80")[0] == 200
    assert asked(first.port, "GET", f"/?token={tokens[0]}", host="evil.org")[0] == 403


def test_the_token_is_never_logged(serve, caplog, capfd):
    with caplog.at_level(logging.DEBUG):
        page = serve(token=TOKEN)
        asked(page.port, "GET", f"/?token={TOKEN}")
        asked(page.port, "GET", f"/nothing?token={TOKEN}")
        asked(page.port, "POST", f"/control/mark?token={TOKEN}", b"{")
        page.close()
    assert TOKEN not in caplog.text + "".join(capfd.readouterr())
    assert TOKEN not in repr(page)


@pytest.mark.parametrize("token", ["", "short", "x" * 129, "with space 0123456789", "a;b" * 8])
def test_weak_tokens_are_refused(serve, token):
    with pytest.raises(InputError, match="token must be 16 to 128 letters") as caught:
        serve(token=token)
    assert not token or token not in str(caught.value)
