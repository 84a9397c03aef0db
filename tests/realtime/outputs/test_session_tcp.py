"""Lines over TCP: bounded, only on this machine, indifferent to what clients send."""

from __future__ import annotations

import json
import random
import socket

import pytest
from wait_until import WAIT_S, wait_until

from fastbrain.errors import DiskError
from fastbrain.realtime.outputs import TcpLines

MESSAGES = 10_000


@pytest.fixture
def server():
    marks = []
    made = TcpLines(0, mark=marks.append)
    made.marks = marks
    yield made
    made.close()


def connect(server):
    before = len(server._clients)
    link = socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S)
    wait_until(lambda: server.clients > before)
    return link


def test_every_client_reads_every_line(server):
    links = [connect(server) for _ in range(3)]
    wait_until(lambda: server.clients == 3)
    for i in range(50):
        server.write({"type": "text", "index": i, "text": "an é\n"})
    for link in links:
        with link.makefile("r", encoding="utf-8") as file:
            rows = [json.loads(file.readline()) for _ in range(50)]
        assert [row["index"] for row in rows] == list(range(50))
        assert rows[0]["text"] == "an é\n"
        link.close()
    wait_until(lambda: not server.clients)


def test_it_listens_on_this_machine_alone(server):
    assert server._server.getsockname()[0] == "127.0.0.1"


def test_a_slow_client_loses_the_oldest_lines(server):
    slow = connect(server)
    wait_until(lambda: server.clients == 1)
    line = {"type": "text", "text": "x" * 20_000}
    for _ in range(2_000):
        server.write(line)
    wait_until(lambda: server.dropped > 0)
    (client,) = server._clients.values()
    assert len(client.lines) <= 512
    slow.close()


def test_clients_are_counted(server):
    links = [connect(server) for _ in range(16)]
    wait_until(lambda: server.clients == 16)
    extra = socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S)
    assert extra.recv(1) == b""
    wait_until(lambda: server.refused == 1)
    for link in (*links, extra):
        link.close()


def test_a_client_sends_marks(server):
    link = connect(server)
    link.sendall(b'{"mark": "cue on"}\n{"mark": ')
    link.sendall(b'"cue off"}\n')
    wait_until(lambda: server.marks == ["cue on", "cue off"])
    link.close()


def test_fuzzed_messages_do_no_harm(server):
    rng = random.Random(0)
    link = connect(server)
    sent = 0
    for _ in range(MESSAGES):
        size = rng.choice((0, 1, 5, 40, 300))
        message = rng.choice(
            (
                rng.randbytes(size),
                b'{"mark": ' + rng.randbytes(size) + b"}",
                b"[" * size,
                json.dumps({"mark": rng.choice((None, 3, [], {}, True))}).encode(),
                b'{"mark": "x"' + b" " * size,
                b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.",
            )
        )
        link.sendall(message + rng.choice((b"\n", b"\n", b"")))
        sent += 1
        if sent % 500 == 0:  # a new client, without a farewell
            link.close()
            wait_until(lambda: not server.clients)
            link = connect(server)
    link.sendall(b"\n" + b"x" * 1_000_000 + b"\n")  # far beyond the largest message
    link.sendall(b'{"mark": "still there"}\n')
    wait_until(lambda: "still there" in server.marks)
    assert all(isinstance(label, str) for label in server.marks)
    for client in list(server._clients.values()):
        assert len(client.read) <= 2 * 4096
    link.close()


@pytest.mark.parametrize("path", ["/", "/" + 6000 * "x"], ids=["short", "long"])
def test_a_web_page_cannot_set_marks(server, path):
    link = connect(server)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"
    link.sendall(head.encode() + b'\n{"mark": "web"}\n')
    wait_until(lambda: not server.clients)
    link.close()
    assert server.marks == []
    assert server.refused > 0


def test_a_port_in_use_is_said(server):
    with pytest.raises(DiskError, match="port must be free"):
        TcpLines(server.port)


def test_closing_twice_is_harmless():
    server = TcpLines(0)
    link = connect(server)
    server.write({"type": "end"})
    server.close()
    server.close()
    with link, link.makefile() as file:
        assert file.read() == '{"type": "end"}\n'
