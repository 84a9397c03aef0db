"""Serves the live page from a thread of its own, so that it never delays the session."""

from __future__ import annotations

import importlib
import re
import secrets
import socket
import threading
import time
from typing import Any

from ..._arguments import checked
from ...errors import BackendError, InputError, MissingPartError
from ..session.events import Control, Publisher
from .guard import is_loopback
from .hub import Hub

_START_S = 10.0
_STOP_S = 3.0
_SILENT_S = 10.0  # a connection without a request is closed after so long
_MOST_CONNECTIONS = 64
_LAST_PORT = 65535
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")


class PageServer:
    """A live page that is being served; made by :func:`serve_page`.

    Attributes
    ----------
    url : str
        Address to open, with its token if there is one. It is not to be logged.
    port : int
    """

    def __init__(self, server: Any, listener: socket.socket, hub: Hub, url: str) -> None:
        self.url, self.port = url, int(listener.getsockname()[1])
        self._server, self._listener, self._hub = server, listener, hub
        self._thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="page", daemon=True
        )
        self._thread.start()

    @property
    def clients(self) -> int:
        """Number of connected browsers."""
        return self._hub.clients

    @property
    def dropped(self) -> int:
        """Events and messages that were dropped because the page or a browser was slow."""
        return self._hub.dropped

    def close(self) -> None:
        """End all streams and free the port; may be called twice."""
        self._hub.close()
        self._server.should_exit = True
        self._thread.join(_STOP_S)
        self._listener.close()

    def _wait(self) -> None:
        until = time.monotonic() + _START_S
        while not self._server.started and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.005)
        if not self._server.started:
            self.close()
            raise BackendError(
                f"serve_page: the server must start within {_START_S:g} s, got none. Start the "
                "session again, or without a page (--page none)."
            )


@checked(least={"port": 0})
def serve_page(
    publisher: Publisher,
    control: Control,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
) -> PageServer:
    """Serve the live page of a session.

    Parameters
    ----------
    publisher : Publisher
        Events of the session.
    control : Control
        Receives start, stop and marks.
    host : str
        Address to bind. By default only programs on this machine can connect.
    port : int
        0 chooses a free one.
    token : str, optional
        16 to 128 letters, digits, ``-`` or ``_`` that every request must hold. Default: none on
        this machine alone, a random one where `host` can be reached from other machines.

    Returns
    -------
    PageServer
        Already reachable at its ``url``.

    Raises
    ------
    InputError
        The address cannot be bound, or the token is too short.
    MissingPartError
        FastAPI or uvicorn is not installed.
    BackendError
        The server did not start.

    Notes
    -----
    The connection is not encrypted. From another machine, prefer an SSH tunnel to 127.0.0.1:
    ``ssh -L 8765:127.0.0.1:8765 MACHINE``.
    """
    if token is not None and not _TOKEN.fullmatch(token):
        raise InputError(
            f"serve_page: token must be 16 to 128 letters, digits, '-' or '_', got {len(token)} "
            "characters. Leave it out to have one made."
        )
    if port > _LAST_PORT:
        raise InputError(
            f"serve_page: port must be 0 to {_LAST_PORT}, got {port}. Choose 0 for a free one."
        )
    app, http = _parts()
    listener = _bound(host, port)
    own = int(listener.getsockname()[1])
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(32)
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    shown = f"[{shown}]" if ":" in shown else shown
    url = f"http://{shown}:{own}/" + ("" if token is None else f"?token={token}")
    hub = Hub(publisher)
    guarded = app.make_app(hub, control, host=host, token=token, cookie=f"fastbrain-{own}")
    page = PageServer(http.make_server(guarded, _MOST_CONNECTIONS, _SILENT_S), listener, hub, url)
    page._wait()
    return page


def _parts() -> tuple[Any, Any]:
    try:
        return tuple(importlib.import_module(f".{name}", __package__) for name in ("app", "http"))  # type: ignore[return-value]
    except ImportError as error:
        raise MissingPartError(
            f"serve_page: FastAPI and uvicorn must be installed for the live page, got '{error}'. "
            "pip install 'fastbrain-fmri[page]'"
        ) from error


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_MOST_CONNECTIONS)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"serve_page: port must be free on an address of this machine, got {host} and {port}: "
            f"{error}. Choose another port, or 0 for a free one."
        ) from error
