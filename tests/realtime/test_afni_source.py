"""AFNI's two streams over a socket, and senders that stop or send something else."""

from __future__ import annotations

import socket
import struct
import threading
import time

import numpy as np
import pytest
from afni_streams import MARKER, fuzzed, header, images
from fake_clock import FakeClock

from fastbrain.errors import InputError
from fastbrain.realtime import BadVolume, Volume, open_source


@pytest.fixture
def opened():
    sources = []

    def one(**options):
        sources.append(open_source("afni:0", **options))
        return sources[-1]

    yield one
    for source in sources:
        source.close()


@pytest.fixture
def send():
    """Send some bytes to a port, then close the connection."""

    def one(port: int, *blocks: bytes) -> socket.socket:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sender:
            for block in blocks:
                sender.sendall(block)

    return one


def test_images_over_a_socket(opened, send):
    source, sent = opened(), images(4)
    thread = threading.Thread(
        target=send, args=(source.port, header(), *(image.tobytes() for image in sent))
    )
    thread.start()
    found = [item for item in source if item is not None]
    thread.join()
    assert [v.index for v in found] == [0, 1, 2, 3]
    for item, image in zip(found, sent, strict=True):
        assert isinstance(item, Volume)
        np.testing.assert_array_equal(item.data, image)
        assert (item.tr_s, item.motion) == (1.5, None)


def test_images_after_a_control_string(opened, send):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    source, (sent,) = opened(), images(1)

    def sender() -> None:
        send(source.port, f"tcp:127.0.0.1:{port}\0".encode())
        while True:
            try:
                return send(port, header(), sent.tobytes(), MARKER)
            except ConnectionRefusedError:
                time.sleep(0.005)

    thread = threading.Thread(target=sender)
    thread.start()
    (item,) = [item for item in source if item is not None]
    thread.join()
    np.testing.assert_array_equal(item.data, sent)


@pytest.mark.parametrize("version", [2, 3])
def test_masked_voxels(opened, send, brain_mask, version):
    path, voxels = brain_mask
    count = int(voxels.sum())
    source = opened(mask=path, tr_s=2.0)
    rng = np.random.default_rng(0)
    sent = [rng.random(count).astype("<f4") for _ in range(3)]
    blocks = [bytes([0xAB, 0xCD, 0xEF, 0xAB + version]), struct.pack("<i", count)]
    for index, values in enumerate(sent):
        # superior, left, posterior; roll, pitch, yaw
        blocks.append(np.array([index, 1, 2, 90, 45, 30], "<f4").tobytes())
        if version == 2:
            table = np.zeros((count, 8), "<f4")
            table[:, 7] = values
            values = table
        blocks.append(values.tobytes())
    send(source.port, *blocks, b"\xde\xad\xde\xad")
    found = [item for item in source if item is not None]
    assert [v.index for v in found] == [0, 1, 2]
    for item, values in zip(found, sent, strict=True):
        np.testing.assert_array_equal(item.data[voxels], values)
        assert not item.data[~voxels].any()
        assert item.tr_s == 2.0
        np.testing.assert_array_equal(item.affine, np.diag([2.0, 3, 4, 1]))
        expected = [-1, -2, item.index, -np.pi / 4, -np.pi / 6, np.pi / 2]
        np.testing.assert_allclose(item.motion, expected)


@pytest.mark.parametrize(
    ("version", "with_mask", "count", "message"),
    [
        (0, True, 0, "Mask_Vals"),
        (1, True, 4, "Mask_Vals"),
        (4, True, 4, "Mask_Vals"),
        (3, False, 4, "mask="),
        (3, True, 4, "voxels of mask="),
        (3, True, -1, "voxels of mask="),
    ],
)
def test_runs_without_the_voxels_of_the_mask(
    opened, send, brain_mask, version, with_mask, count, message
):
    source = opened(mask=brain_mask[0] if with_mask else None)
    send(source.port, bytes([0xAB, 0xCD, 0xEF, 0xAB + version]), struct.pack("<i", count))
    item = next(item for item in source if item is not None)
    assert isinstance(item, BadVolume)
    assert message in item.reason


def test_a_connection_that_ends_inside_a_volume(opened, send):
    source, sent = opened(), images(2)
    send(source.port, header(), sent[0].tobytes(), sent[1].tobytes()[:100])
    good, bad = [item for item in source if item is not None]
    assert (good.index, bad.index, bad.reason) == (0, 1, "The connection ended inside a volume.")


def test_a_sender_that_stops_is_dropped(opened, send):
    source, (sent,) = opened(timeout_s=0.05), images(1)
    items = iter(source)
    with socket.create_connection(("127.0.0.1", source.port)) as stuck:
        stuck.sendall(header() + b"xx")
        bad = next(item for item in items if item is not None)
        assert bad.reason == "A volume did not continue for 0.05 s."
        # the port is free for another
        send(source.port, header(), sent.tobytes(), MARKER)
        (good,) = [item for item in items if item is not None]
        np.testing.assert_array_equal(good.data, sent)


def test_it_listens_at_this_machine_only(opened):
    source = opened()
    assert source._door.getsockname()[0] == "127.0.0.1"
    with pytest.raises(InputError, match="free to listen at"):
        open_source(f"afni:{source.port}")
    with pytest.raises(InputError, match="free to listen at"):
        open_source("afni:0", host="not a host.invalid")


def test_nothing_arrives_on_a_clock_of_a_test():
    clock = FakeClock()
    source = open_source("afni:0", clock=clock)
    items = iter(source)
    assert [next(items) for _ in range(5)] == [None] * 5
    assert clock.now() == pytest.approx(0.1)
    source.close()
    assert list(items) == []


def test_fuzzed_connections(opened, send, brain_mask):
    source, rng = opened(mask=brain_mask[0], timeout_s=0.01), np.random.default_rng(18)
    items = iter(source)
    for _ in range(100):
        data = fuzzed(rng)
        if data.startswith(b"tcp"):
            continue  # opens ports of this machine
        send(source.port, data)
        for _ in range(3):
            next(items)
    # it still serves a sender
    (sent,) = images(1)
    sender = threading.Thread(
        target=send, args=(source.port, header(), sent.tobytes(), MARKER), daemon=True
    )
    sender.start()
    found = [item for item in items if isinstance(item, Volume)]
    sender.join()
    np.testing.assert_array_equal(found[-1].data, sent)
