"""Events as lines of JSON over TCP, for stimulus computers and feedback programs on this machine.

Clients read lines; what they send is a mark: ``{"mark": "label"}``. Everything is bounded: clients,
lines that wait for a client, and the length of a line that a client sends.
"""

from __future__ import annotations

import json
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable

from ..._arguments import checked
from ...errors import DiskError, FastbrainError
from ..session.events import Event

HOST = "127.0.0.1"
_MOST_CLIENTS = 16
_MOST_LINES = 512  # that wait for one client
_MOST_IN = 4096  # bytes of a line from a client
_POLL_S = 0.05


class _Client:
    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.lines: deque[bytes] = deque()
        self.begun = b""  # rest of a line of which a part was sent
        self.read = b""
        self.skipping = False  # the rest of a line that was too long


class TcpLines:
    """Serves events as lines on 127.0.0.1.

    Parameters
    ----------
    port : int
        0 chooses a free one; see attribute `port`.
    mark : callable, optional
        Receives the labels that clients send.

    Attributes
    ----------
    dropped : int
        Lines that slow clients have lost, the oldest first.
    refused : int
        Connections beyond the sixteenth, and messages that are no mark.

    Raises
    ------
    DiskError
        The port is in use.
    """

    @checked(least={"port": 0})
    def __init__(self, port: int = 0, *, mark: Callable[[str], None] | None = None) -> None:
        self.dropped = self.refused = 0
        self._mark = mark
        try:
            self._server = socket.create_server((HOST, port), backlog=_MOST_CLIENTS)
        except (OSError, OverflowError) as error:
            raise DiskError(
                f"TcpLines: port must be free on {HOST}, got {port}: {error}. Choose another one."
            ) from error
        self.port = int(self._server.getsockname()[1])
        self._server.setblocking(False)
        self._clients: dict[int, _Client] = {}
        self._lock = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="tcp", daemon=True)
        self._thread.start()

    def write(self, event: Event) -> None:
        """Queue an event for all clients; never waits."""
        line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
        with self._lock:
            for client in self._clients.values():
                if len(client.lines) >= _MOST_LINES:
                    client.lines.popleft()
                    self.dropped += 1
                client.lines.append(line)
        self._notify()

    def close(self) -> None:
        """Send what can be sent at once and close all connections; may be called twice."""
        if not self._closing:
            self._closing = True
            self._notify()
            self._thread.join(1.0)

    @property
    def clients(self) -> int:
        """Number of connections."""
        return len(self._clients)

    def _notify(self) -> None:
        try:
            self._wake.send(b"x")
        except OSError:  # a full pipe has woken it already
            pass

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._closing:
                for key, ready in selector.select(_POLL_S):
                    self._handle(selector, key.fileobj, ready)
                self._arm(selector)
            for client in list(self._clients.values()):
                self._send(client)
                client.link.close()
        for one in (self._server, self._wake, self._woken):
            one.close()

    def _handle(self, selector: selectors.BaseSelector, link: object, ready: int) -> None:
        if link is self._woken:
            self._woken.recv(65536)
        elif link is self._server:
            self._accept(selector)
        else:
            assert isinstance(link, socket.socket)
            client = self._clients[link.fileno()]
            alive = not ready & selectors.EVENT_READ or self._receive(client)
            if not alive or (ready & selectors.EVENT_WRITE and not self._send(client)):
                self._leave(selector, client)

    def _arm(self, selector: selectors.BaseSelector) -> None:
        for client in self._clients.values():
            wanted = selectors.EVENT_READ
            if client.lines or client.begun:
                wanted |= selectors.EVENT_WRITE
            if selector.get_key(client.link).events != wanted:
                selector.modify(client.link, wanted)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        try:
            link, _ = self._server.accept()
        except OSError:  # the client has gone again
            return
        if len(self._clients) >= _MOST_CLIENTS:
            self.refused += 1
            link.close()
            return
        link.setblocking(False)
        with self._lock:
            self._clients[link.fileno()] = _Client(link)
        selector.register(link, selectors.EVENT_READ)

    def _leave(self, selector: selectors.BaseSelector, client: _Client) -> None:
        selector.unregister(client.link)
        with self._lock:
            del self._clients[client.link.fileno()]
        client.link.close()

    def _send(self, client: _Client) -> bool:
        try:
            while True:
                if not client.begun:
                    with self._lock:
                        if not client.lines:
                            return True
                        client.begun = client.lines.popleft()
                client.begun = client.begun[client.link.send(client.begun) :]
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _receive(self, client: _Client) -> bool:
        try:
            found = client.link.recv(_MOST_IN)
        except BlockingIOError:
            return True
        except OSError:
            return False
        *lines, client.read = (client.read + found).split(b"\n")
        for line in lines:
            if _is_http(line):
                self.refused += 1
                return False
            if client.skipping:
                client.skipping = False
            else:
                self._message(line)
        if len(client.read) > _MOST_IN:
            self.refused += not client.skipping
            client.read, client.skipping = b"", True
        return bool(found)

    def _message(self, line: bytes) -> None:
        try:
            label = json.loads(line)["mark"]
            if self._mark is None or not isinstance(label, str):
                raise ValueError
            self._mark(label)
        except (ValueError, KeyError, TypeError, RecursionError, FastbrainError):
            self.refused += 1


def _is_http(line: bytes) -> bool:
    """Whether a line is of a request that a web page lets a browser send here, to set marks."""
    return b" HTTP/" in line or line[:5].lower() == b"host:"
