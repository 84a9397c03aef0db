"""AFNI's two streams over a socket, and everything else that may be sent to one."""

from __future__ import annotations

import socket
import struct
import threading

import nibabel as nib
import numpy as np
import pytest
from fake_clock import FakeClock

from fastbrain.errors import FastbrainError, InputError
from fastbrain.realtime import BadVolume, Volume, open_source
from fastbrain.realtime.sources import afni_images
from fastbrain.realtime.sources.afni_wire import Decoder, End, Frame, Redirect

COMMANDS = {
    "ACQUISITION_TYPE": "3D+t",
    "TR": "1.5",
    "XYFOV": "14.0 18.0 20.0",
    "XYMATRIX": "7 6 5",
    "XYZAXES": "R-L A-P I-S",
    "XYZFIRST": "10R 20A 30I",
    "DATUM": "short",
}
MARKER = afni_images.MARKER


def header(**changes: str | None) -> bytes:
    lines = {**COMMANDS, **changes}
    return "\n".join(f"{k} {v}" for k, v in lines.items() if v is not None).encode() + b"\0"


def images(count: int, dtype="<i2") -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 200, (5, 6, 7)).astype(dtype) for _ in range(count)]


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


def decoded(data: bytes, mask=None, step: int | None = None) -> list:
    decoder, found = Decoder(mask), []
    step = step or len(data)
    for at in range(0, len(data), step):
        decoder.feed(data[at : at + step])
        while (message := decoder.next()) is not None:
            found.append(message)
            if not isinstance(message, Frame):
                return found
    return found


@pytest.mark.parametrize("step", [1, 7, 100, None])
def test_images(step):
    sent = images(3)
    stream = header() + b"".join(image.tobytes() for image in sent) + MARKER
    *found, end = decoded(stream, step=step)
    assert isinstance(end, End)
    for frame, image in zip(found, sent, strict=True):
        np.testing.assert_array_equal(frame.data, image)
        assert frame.tr_s == 1.5
        # the first voxel lies 10 mm right, 20 mm anterior and 30 mm inferior
        expected = [[-2, 0, 0, 10], [0, -3, 0, 20], [0, 0, 4, -30], [0, 0, 0, 1]]
        np.testing.assert_array_equal(frame.affine, expected)


@pytest.mark.parametrize(
    ("datum", "order", "dtype", "expected"),
    [
        ("short", "MSB_FIRST", ">i2", np.int16),
        ("float", "LSB_FIRST", "<f4", np.float32),
        ("byte", "LSB_FIRST", "u1", np.int16),
    ],
)
def test_types_of_images(datum, order, dtype, expected):
    (sent,) = images(1, dtype)
    (frame,) = decoded(header(DATUM=datum, BYTEORDER=order) + sent.tobytes())
    assert frame.data.dtype == expected
    np.testing.assert_array_equal(frame.data, sent)


@pytest.mark.parametrize(
    ("kind", "order"), [("seq", [0, 1, 2, 3, 4]), ("alt", [0, 2, 4, 1, 3]), (None, [0, 2, 4, 1, 3])]
)
def test_slices_in_order_of_acquisition(kind, order):
    (sent,) = images(1)
    commands = header(ACQUISITION_TYPE="2D+zt", ZORDER=kind)
    (frame,) = decoded(commands + sent[order].tobytes())
    np.testing.assert_array_equal(frame.data, sent)


@pytest.mark.parametrize(
    ("changes", "affine"),
    [
        ({"XYZFIRST": "10 20 30"}, [[-2, 0, 0, 10], [0, -3, 0, 20], [0, 0, 4, -30]]),
        ({"XYZFIRST": None}, [[-2, 0, 0, 6], [0, -3, 0, 7.5], [0, 0, 4, -8]]),
        ({"XYZFIRST": None, "ZFIRST": "12S"}, [[-2, 0, 0, 6], [0, -3, 0, 7.5], [0, 0, 4, 12]]),
        ({"XYFOV": "14 18", "ZDELTA": "2.5"}, [[-2, 0, 0, 10], [0, -3, 0, 20], [0, 0, 2.5, -30]]),
        (
            {"XYZAXES": "S-I A-P L-R", "XYZFIRST": "30 20A 50R"},
            [[0, 0, 4, 50], [0, -3, 0, 20], [-2, 0, 0, 30]],
        ),
        (
            {"OBLIQUE_XFORM": "2 0 0 5 0 3 1 6 0 -1 4 7 0 0 0 1"},
            [[-2, 0, 0, -5], [0, -3, -1, -6], [0, -1, 4, 7]],
        ),
    ],
)
def test_places_of_images(changes, affine):
    (sent,) = images(1)
    (frame,) = decoded(header(**changes) + sent.tobytes())
    np.testing.assert_array_equal(frame.affine, [*affine, [0, 0, 0, 1]])


@pytest.mark.parametrize(
    "changes",
    [
        {"XYMATRIX": "64"},
        {"XYMATRIX": "64 64 -1"},
        {"XYMATRIX": "9999 9999 9999"},
        {"XYMATRIX": "0 1 1"},
        {"DATUM": "complex"},
        {"XYZAXES": "R-L A-P A-P"},
        {"XYZAXES": "R-L A-P"},
        {"XYZAXES": "R-L A-R I-S"},
        {"XYZFIRST": "10A 20A 30I"},
        {"XYFOV": "0 0 0"},
        {"XYFOV": "nan 1 1"},
        {"TR": "x"},
        {"NUM_CHAN": "2"},
        {"ACQUISITION_TYPE": "4D"},
        {"OBLIQUE_XFORM": "1 2 3"},
    ],
)
def test_commands_that_are_not_served(changes):
    with pytest.raises(FastbrainError):
        decoded(header(**changes))


def test_control_string():
    (message,) = decoded(b"tcp:localhost:7953\nmake_info\0")
    assert message == Redirect(7953)
    for text in (b"shm:grv:1M\0", b"tcp:x:80\0", b"tcp:x:y\0"):
        with pytest.raises(FastbrainError, match="over TCP"):
            decoded(text)


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
                continue

    thread = threading.Thread(target=sender)
    thread.start()
    (item,) = [item for item in source if item is not None]
    thread.join()
    np.testing.assert_array_equal(item.data, sent)


@pytest.fixture
def mask(tmp_path):
    voxels = np.random.default_rng(1).random((7, 6, 5)) < 0.4
    nib.save(nib.Nifti1Image(voxels.astype(np.uint8), np.diag([2.0, 3, 4, 1])), tmp_path / "m.nii")
    return tmp_path / "m.nii", voxels.transpose(2, 1, 0)


@pytest.mark.parametrize("version", [2, 3])
def test_masked_voxels(opened, send, mask, version):
    path, voxels = mask
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
    opened, send, mask, version, with_mask, count, message
):
    source = opened(mask=mask[0] if with_mask else None)
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


def fuzzed(rng: np.random.Generator) -> bytes:
    """Bytes that look like one of the streams in some part."""
    count = int(rng.integers(0, 40))
    begins = [
        b"\xab\xcd\xef" + bytes([int(rng.integers(256))]),
        b"\xab\xcd\xef\xae" + struct.pack("<i", int(rng.integers(-(2**31), 2**31))),
        b"\xab\xcd\xef\xae" + struct.pack("<i", 81),
        header(),
        header(XYMATRIX=f"{rng.integers(0, 99999)} {rng.integers(0, 99999)} 99"),
        b"tcp:x:" + str(int(rng.integers(0, 99999))).encode() + b"\0",
        b"\x80\4\x95c__builtin__\nexit\n(tR.",  # a pickle
        b"",
    ]
    data = bytearray(begins[rng.integers(len(begins))] + rng.bytes(count))
    for _ in range(int(rng.integers(0, 4))):
        if data:
            at = int(rng.integers(len(data)))
            match rng.integers(3):
                case 0:
                    data[at] = int(rng.integers(256))
                case 1:
                    del data[at : at + int(rng.integers(1, 9))]
                case _:
                    data[at:at] = b"\0" * int(rng.integers(1, 9))
    return bytes(data)


def test_ten_thousand_fuzzed_messages(mask):
    from fastbrain.realtime.sources.afni_voxels import read_mask_image

    rng, held = np.random.default_rng(17), read_mask_image(mask[0])
    refused = 0
    for _ in range(10_000):
        decoder = Decoder(held)
        decoder.feed(fuzzed(rng))
        try:
            for _ in range(50):
                if decoder.next() is None:
                    break
        except FastbrainError:
            refused += 1
        assert len(decoder._held) <= 1000
    assert refused > 1000


def test_what_is_held_is_bounded_by_one_message():
    endless = Decoder(None)
    endless.feed(b"x" * 32_768)
    assert endless.next() is None
    endless.feed(b"x")
    with pytest.raises(FastbrainError, match="commands must end"):
        endless.next()
    decoder, block = Decoder(None), bytes(10_000)
    decoder.feed(header())
    for _ in range(100):
        decoder.feed(block)
        while decoder.next() is not None:
            pass
        assert len(decoder._held) < 5 * 6 * 7 * 2


def test_nothing_arrives_on_a_clock_of_a_test():
    clock = FakeClock()
    source = open_source("afni:0", clock=clock)
    items = iter(source)
    assert [next(items) for _ in range(5)] == [None] * 5
    assert clock.now() == pytest.approx(0.1)
    source.close()
    assert list(items) == []


def test_fuzzed_connections(opened, send, mask):
    source, rng = opened(mask=mask[0], timeout_s=0.01), np.random.default_rng(18)
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
