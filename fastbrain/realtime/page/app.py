"""Routes of the live page. Imported by :mod:`.server` only: it needs FastAPI."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field

from ...errors import FastbrainError
from ..session.events import Control
from .guard import Guard, Receive, Scope, Send
from .hub import Client, Hub

STATIC = Path(__file__).with_name("static")
_PING_S = 10.0
_SEND_S = 20.0  # a browser that takes nothing for so long is disconnected
_RETRY_MS = 1000


class Mark(BaseModel):
    """Body of the command ``mark``."""

    model_config = ConfigDict(extra="forbid", strict=True)
    label: str = Field(min_length=1, max_length=200)


class EventStream(Response):
    """Server-sent events of one browser, until it leaves or the page is closed."""

    def __init__(self, hub: Hub) -> None:
        super().__init__()
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what the hub has for this browser."""
        client = self._hub.join()
        if client is None:
            refusal = JSONResponse({"error": "Too many pages are open."}, status_code=503)
            await refusal(scope, receive, send)
            return
        leaving = asyncio.create_task(_until_gone(receive, client))
        try:
            headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await _send(send, f"retry: {_RETRY_MS}\n\n")
            while not client.closed:
                bodies = await client.take(_PING_S)
                await _send(send, "".join(f"data: {b}\n\n" for b in bodies) or ": still here\n\n")
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (asyncio.TimeoutError, OSError):
            pass
        finally:
            leaving.cancel()
            self._hub.leave(client)


def make_app(hub: Hub, control: Control, *, host: str, token: str | None, cookie: str) -> Guard:
    """Make the guarded ASGI application.

    Parameters
    ----------
    hub : Hub
    control : Control
    host, token, cookie
        See :class:`fastbrain.realtime.page.guard.Guard`.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/events")
    def events() -> EventStream:
        return EventStream(hub)

    @app.post("/control/start", status_code=204)
    def start() -> None:
        control.start()

    @app.post("/control/stop", status_code=204)
    def stop() -> None:
        control.stop()

    @app.post("/control/mark", status_code=204)
    def mark(body: Mark) -> None:
        control.mark(body.label)

    @app.exception_handler(FastbrainError)
    def refused(request: Request, error: Any) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=422)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: Any) -> JSONResponse:
        need = 'A mark is {"label": TEXT} with 1 to 200 characters.'
        return JSONResponse({"error": need}, status_code=422)

    return Guard(app, host=host, token=token, cookie=cookie)


async def _send(send: Send, text: str) -> None:
    message = {"type": "http.response.body", "body": text.encode(), "more_body": True}
    await asyncio.wait_for(send(message), _SEND_S)


async def _until_gone(receive: Receive, client: Client) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    client.close()
