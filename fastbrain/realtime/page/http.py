"""The HTTP server of the page: uvicorn with limits. Imported by :mod:`.server` only."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .guard import Guard

_HEADER_BYTES = 16384


def make_server(app: Guard, connections: int, silent_s: float) -> uvicorn.Server:
    """Make a server that is run with a bound socket.

    Parameters
    ----------
    app : Guard
    connections : int
        Largest number of connections at a time.
    silent_s : float
        A connection is closed that has sent no whole request for so long.
    """

    class Protocol(H11Protocol):
        _silence: asyncio.TimerHandle | None = None
        _seen: Any = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._silence is not None:
                self._silence.cancel()
            super().connection_lost(exc)

        def _watch(self) -> None:
            self._silence = self.loop.call_later(silent_s, self._look)

        def _look(self) -> None:
            idle = self.cycle is None or self.cycle.response_complete
            if idle and self.cycle is self._seen:
                self.transport.close()
                return
            self._seen = self.cycle
            self._watch()

    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,  # it would have the token
        server_header=False,
        limit_concurrency=connections,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=_HEADER_BYTES,
    )
    return uvicorn.Server(config)
