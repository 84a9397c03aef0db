"""Who may talk to the page: checks of host, origin, token and size before any route sees a request.

- A ``Host`` other than an address, ``localhost`` or the bound name is refused: a foreign web page
  cannot reach this server through a name that it points to 127.0.0.1 (DNS rebinding).
- Requests that a foreign web page sends are refused by ``Origin`` and ``Sec-Fetch-Site``; commands
  must be JSON, which no HTML form can send.
- With a token, every request must hold it: as ``Authorization: Bearer``, as ``?token=`` or as the
  cookie that the first page sets.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BODY = 4096  # bytes
_BODY_S = 10.0
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    b"content-security-policy": _POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Guard:
    """ASGI middleware with the checks of this module.

    Parameters
    ----------
    app : callable
        The guarded ASGI application.
    host : str
        Where the server is bound.
    token : str or None
        What every request must hold.
    cookie : str
        Name of the cookie that carries the token.
    """

    def __init__(self, app: App, *, host: str, token: str | None, cookie: str) -> None:
        self.app, self.token, self.cookie = app, token, cookie
        self._local = is_loopback(host)
        names = {"localhost"} if self._local else {"localhost", host, socket.gethostname()}
        self._names = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return
        headers = _Headers(scope)
        by_query = self._token_in_query(scope)

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name in _HEADERS}
                kept = [pair for pair in message.get("headers", ()) if pair[0].lower() not in own]
                message["headers"] = [*kept, *_HEADERS.items()]
                if by_query and message["status"] < 400:
                    message["headers"].append((b"set-cookie", self._set_cookie()))
            await send(message)

        refused = self._refusal(scope, headers, by_query)
        body = b""
        if refused is None and scope["method"] == "POST":
            try:
                body = await asyncio.wait_for(_body(headers, receive), _BODY_S)
            except _TooLargeError:
                refused = 413, f"A request holds at most {MOST_BODY} bytes."
            except asyncio.TimeoutError:
                refused = 408, "The request did not end."
        if refused is not None:
            await _answer(sending, *refused)
        else:
            await self.app(scope, _replay(body, receive), sending)

    def _refusal(self, scope: Scope, headers: _Headers, by_query: bool) -> tuple[int, str] | None:
        host = headers.only("host")
        if host is None or not self._known(host):
            return 403, "Open this page by the address that was printed, or by http://IP:PORT."
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "GET and POST only."
        site, mode = headers.only("sec-fetch-site"), headers.only("sec-fetch-mode")
        visit = scope["method"] == "GET" and mode == "navigate"  # a link to the page is harmless
        if site not in (None, "none", "same-origin") and not visit:
            return 403, "Requests of other web pages are refused."
        origin = headers.only("origin")
        if headers.has("origin") and origin != f"{scope.get('scheme', 'http')}://{host}".lower():
            return 403, "Requests of other web pages are refused."
        if self.token is not None and not by_query and not self._token_in(headers):
            return 401, "Open the whole address that was printed: the token at its end is needed."
        kind = (headers.only("content-type") or "").split(";")[0].strip()
        if scope["method"] == "POST" and kind != "application/json":
            return 415, "Commands are JSON."
        return None

    def _known(self, host: str) -> bool:
        name = host[: host.rfind(":")] if host.rpartition(":")[2].isdigit() else host
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name.lower() in self._names
        return address.is_loopback or not self._local

    def _token_in_query(self, scope: Scope) -> bool:
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [])
        return len(given) == 1 and self._equals(given[0])

    def _token_in(self, headers: _Headers) -> bool:
        scheme, _, given = (headers.only("authorization", lower=False) or "").partition(" ")
        if scheme.lower() == "bearer":
            return self._equals(given.strip())
        try:
            cookies = SimpleCookie(headers.only("cookie", lower=False) or "")
        except CookieError:
            return False
        return self.cookie in cookies and self._equals(cookies[self.cookie].value)

    def _equals(self, given: str) -> bool:
        # constant time: how much of a guess was right does not show
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def _set_cookie(self) -> bytes:
        return f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/".encode()


class _TooLargeError(Exception):
    pass


class _Headers:
    def __init__(self, scope: Scope) -> None:
        self._pairs = [
            (n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in scope["headers"]
        ]

    def has(self, name: str) -> bool:
        return any(found == name for found, _ in self._pairs)

    def only(self, name: str, *, lower: bool = True) -> str | None:
        """Return a header that came once; None where it is missing, or came twice."""
        values = [value for found, value in self._pairs if found == name]
        if len(values) != 1:
            return None
        return values[0].strip().lower() if lower else values[0].strip()


async def _body(headers: _Headers, receive: Receive) -> bytes:
    length = headers.only("content-length")
    if length is not None and (not length.isdigit() or int(length) > MOST_BODY):
        raise _TooLargeError
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MOST_BODY:
            raise _TooLargeError
    return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give an application the body that was read, then what follows it."""
    first = [True]

    async def replayed() -> MutableMapping[str, Any]:
        if first[0]:
            first[0] = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replayed


async def _answer(send: Send, status: int, text: str) -> None:
    content = f"{text}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
