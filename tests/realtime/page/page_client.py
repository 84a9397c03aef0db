"""A client of the page that is no browser: single requests, and streams of events."""

from __future__ import annotations

import http.client
import json
from typing import Any

from wait_until import WAIT_S


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
